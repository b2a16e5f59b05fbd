//! What the macros make, used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use quorate_macros::VariantName;
use quorate_macros::add_async_trait;
use quorate_macros::expand;
use quorate_macros::since;

fn now<F: Future>(future: F) -> F::Output {
    let Poll::Ready(output) = pin!(future).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("nothing here waits");
    };
    output
}

/// Keeps words.
#[since(version = "0.1.0")]
#[add_async_trait]
pub trait Words {
    /// A mere function.
    fn count(&self) -> usize;

    /// Adds a word.
    async fn add(&mut self, word: &str) -> Result<usize, String>;

    /// Adds two, the second one first.
    #[since(version = "0.2.0", change = "the second one comes first")]
    async fn add_two<'a>(&mut self, first: &'a str, mut second: String) -> &'a str
    where
        Self: Send,
    {
        second.push('!');
        self.add(&second).await.unwrap();
        self.add(first).await.unwrap();
        first
    }

    /// Has no body worth the name.
    async fn nothing() {}
}

impl Words for Vec<String> {
    fn count(&self) -> usize {
        self.len()
    }

    async fn add(&mut self, word: &str) -> Result<usize, String> {
        self.push(word.to_owned());
        Ok(self.len())
    }
}

#[test]
fn async_traits_work() {
    let mut words = vec![];
    assert_eq!(now(words.add("a")), Ok(1));
    assert_eq!(now(words.add_two("b", "c".into())), "b");
    assert_eq!((words.count(), words), (3, vec!["a".into(), "c!".into(), "b".into()]));
    now(Vec::<String>::nothing());
}

#[test]
#[cfg(not(feature = "single-threaded"))]
fn futures_of_any_implementation_can_be_sent() {
    fn add_to(words: &mut (impl Words + Send)) -> impl Future<Output = usize> + Send {
        async move { words.add("a").await.unwrap() }
    }
    assert_eq!(now(add_to(&mut vec![])), 1);
}

#[test]
#[cfg(feature = "single-threaded")]
fn futures_need_not_be_sent() {
    struct Shared(std::rc::Rc<std::cell::RefCell<Vec<String>>>);

    impl Words for Shared {
        fn count(&self) -> usize {
            self.0.borrow().len()
        }

        async fn add(&mut self, word: &str) -> Result<usize, String> {
            let shared = self.0.clone();
            async {}.await;
            shared.borrow_mut().push(word.to_owned());
            Ok(self.count())
        }
    }

    assert_eq!(now(Shared(Default::default()).add("a")), Ok(1));
}

/// Says since when it and its parts exist.
#[since(version = "0.3.0", date = "2024-02-29")]
#[derive(Debug, Default, PartialEq)]
pub struct Old {
    /// A number.
    #[since(version = "0.4.0")]
    pub number: u64,
}

#[since]
#[derive(Debug, PartialEq)]
enum Which {
    #[since(version = "0.1.0")]
    Old(Old),
}

#[test]
fn since_changes_no_item() {
    let Which::Old(old) = Which::Old(Old { number: 0 });
    assert_eq!(old, Old::default());
}

struct Table;

impl Table {
    expand!(
        KEYED,
        (NAME, ATTRIBUTES, TYPE, VALUE) => {
            ATTRIBUTES
            const fn NAME() -> TYPE {
                VALUE
            }
        },
        (width, #[must_use] #[inline], u64, 1 + 1),
        (name, , Option<(u8, &'static str)>, Some((1, "a"))),
        (width, , &'static str, "left out"),
    );
}

#[test]
fn rows_fill_in_items() {
    assert_eq!((Table::width(), Table::name()), (2, Some((1, "a"))));
}

macro_rules! from_rules {
    ($($name:ident: $type:ty = $value:expr;)*) => {
        expand!(KEYED, (NAME, TYPE, VALUE) => { let NAME: TYPE = VALUE; }, $(($name, $type, $value),)* (b, u8, 0));
    };
}

#[test]
fn arguments_may_come_from_another_macro() {
    from_rules!(a: Vec<u8> = vec![1, 2]; b: u64 = 3 * (4 + 5););
    assert_eq!((a, b), (vec![1, 2], 27_u64));
}

#[derive(Debug, Clone, Copy, PartialEq, VariantName)]
#[variant_name(prefix = "Leaf::")]
enum Leaf {
    A,
    r#Type,
}

#[derive(Debug, Clone, Copy, PartialEq, VariantName)]
enum Branch {
    Leaf(Leaf),
    Bare,
}

#[derive(Debug, PartialEq, VariantName)]
#[variant_name(prefix = "Tree.")]
enum Tree {
    Root,
    Branch(Branch),
    Leaf(Leaf),
    Crown,
}

#[derive(VariantName)]
enum Nothing {}

#[test]
fn variants_are_listed_numbered_and_named() {
    let names: Vec<&str> = Tree::ALL.iter().map(Tree::as_str).collect();
    let expected = ["Tree.Root", "Leaf::A", "Leaf::Type", "Bare", "Leaf::A", "Leaf::Type", "Tree.Crown"];
    assert_eq!((names.as_slice(), Tree::COUNT), (expected.as_slice(), 7));
    assert!(Tree::ALL.iter().map(Tree::index).eq(0..Tree::COUNT));
    assert_eq!(Tree::ALL[2], Tree::Branch(Branch::Leaf(Leaf::r#Type)));
    assert_eq!(format!("{:>6}|{}", Branch::Bare, Tree::Crown), "  Bare|Tree.Crown");
    const INDEX: usize = Tree::Leaf(Leaf::A).index();
    const NAME: &str = Leaf::A.as_str();
    assert_eq!((INDEX, NAME), (4, "Leaf::A"));
    assert_eq!((Nothing::COUNT, Nothing::ALL.len()), (0, 0));
}
