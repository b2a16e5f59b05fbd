//! Where a node's numbers are told as they change.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::metrics::MetricsRecorder;

/// The recorder that the application named, if any. It is the user's code: never tell it anything under the host's
/// lock.
#[derive(Default)]
pub(crate) struct Recording {
    on: AtomicBool,
    recorder: Mutex<Option<Arc<dyn MetricsRecorder>>>,
}

impl Recording {
    pub(crate) fn set(&self, recorder: Option<Arc<dyn MetricsRecorder>>) {
        let on = recorder.is_some();
        let before =
            std::mem::replace(&mut *self.recorder.lock().unwrap_or_else(PoisonError::into_inner), recorder);
        self.on.store(on, Ordering::Release);
        drop(before);
    }

    /// Lets the recorder know; without one this costs a look at a flag.
    pub(crate) fn tell(&self, what: impl FnOnce(&dyn MetricsRecorder)) {
        if !self.on.load(Ordering::Acquire) {
            return;
        }
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(recorder) = recorder {
            what(&*recorder);
        }
    }
}
