//! Collections that mostly hold one item.

use smallvec::SmallVec;

use crate::base::OptionalSend;

/// A collection that is filled once and then drained.
pub trait Batch<T>:
    AsRef<[T]> + Extend<T> + IntoIterator<Item = T, IntoIter: OptionalSend> + FromIterator<T> + OptionalSend
{
    /// The batch of `items`.
    fn of(items: impl IntoIterator<Item = T>) -> Self {
        items.into_iter().collect()
    }

    /// How many items it holds.
    fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Whether it holds none.
    fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }

    /// The item added last.
    fn last(&self) -> Option<&T> {
        self.as_ref().last()
    }
}

impl<T, B> Batch<T> for B where
    B: AsRef<[T]>
        + Extend<T>
        + IntoIterator<Item = T, IntoIter: OptionalSend>
        + FromIterator<T>
        + OptionalSend
{
}

pub use inline_batch::InlineBatch;

/// A batch that keeps a single item without an allocation.
pub mod inline_batch {
    use super::SmallVec;

    /// A batch that keeps a single item without an allocation.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct InlineBatch<T>(SmallVec<[T; 1]>);

    impl<T> AsRef<[T]> for InlineBatch<T> {
        fn as_ref(&self) -> &[T] {
            &self.0
        }
    }

    impl<T> Extend<T> for InlineBatch<T> {
        fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
            self.0.extend(items);
        }
    }

    impl<T> FromIterator<T> for InlineBatch<T> {
        fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
            Self(items.into_iter().collect())
        }
    }

    impl<T> IntoIterator for InlineBatch<T> {
        type Item = T;
        type IntoIter = smallvec::IntoIter<[T; 1]>;

        fn into_iter(self) -> Self::IntoIter {
            self.0.into_iter()
        }
    }
}
