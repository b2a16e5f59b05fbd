//! Values of an application that travel with its node, by type.

use std::any::TypeId;
use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::base::BoxAny;
use crate::base::OptionalSend;

/// At most one value of each type.
#[derive(Default)]
pub struct Extensions {
    values: Mutex<BTreeMap<TypeId, BoxAny>>,
}

impl Extensions {
    /// A clone of the value of type `T`, after putting in its default if there is none.
    pub fn get<T>(&self) -> T
    where
        T: OptionalSend + Clone + Default + 'static,
    {
        if let Some(value) = self.find::<T>() {
            return value;
        }
        // The default is made outside of the lock: it may look at these extensions itself.
        let default = T::default();
        let mut values = self.lock();
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(default.clone()));
        value.downcast_ref::<T>().cloned().unwrap_or(default)
    }

    /// Whether there is a value of type `T`.
    pub fn contains<T: 'static>(&self) -> bool {
        self.lock().contains_key(&TypeId::of::<T>())
    }

    /// Takes the value of type `T` out.
    pub fn remove<T: 'static>(&self) -> Option<T> {
        let value = self.lock().remove(&TypeId::of::<T>())?;
        let value = value.downcast::<T>();
        debug_assert!(value.is_ok(), "the value kept for {} is of another type", type_name::<T>());
        value.ok().map(|value| *value)
    }

    fn find<T: Clone + 'static>(&self) -> Option<T> {
        self.lock().get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref::<T>()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TypeId, BoxAny>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for Extensions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions").field("count", &self.lock().len()).finish()
    }
}
