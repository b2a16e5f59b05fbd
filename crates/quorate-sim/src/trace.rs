//! What happened in a run, line by line.

use std::cell::RefCell;
use std::rc::Rc;

/// The lines of a run; shared, so that they survive a panic.
pub type Trace = Rc<RefCell<Vec<String>>>;
