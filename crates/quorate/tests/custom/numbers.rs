//! Types that are numbers all through: what makes a [`Kind`](crate::world::Kind) of them.

macro_rules! kind_of_numbers {
    ($config:ty) => {
        impl $crate::world::Kind for $config {
            type Image = u64;

            fn id(number: u64) -> u64 {
                number
            }

            fn node(_number: u64) -> quorate::BasicNode {
                quorate::BasicNode::new("here")
            }

            fn data(number: u64) -> u64 {
                number
            }

            fn answer(sum: u64) -> u64 {
                sum
            }

            fn sum(answer: &u64) -> u64 {
                *answer
            }

            fn number(entry: &Self::Entry) -> u64 {
                match entry.payload {
                    quorate::EntryPayload::Normal(number) => number,
                    _ => 0,
                }
            }

            fn copy(entry: &Self::Entry) -> Self::Entry {
                quorate::Entry { log_id: entry.log_id, payload: entry.payload.clone() }
            }

            fn image(sum: u64) -> u64 {
                sum
            }

            fn of_image(image: &u64) -> u64 {
                *image
            }
        }
    };
}
pub(crate) use kind_of_numbers;
