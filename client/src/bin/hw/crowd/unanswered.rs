//! Messages that were not acknowledged yet, in the order in which they were given to the client.

use highwater_client::{Error, Receipt, Sending};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

/// Sends on their way, each with what its sender wants to know of it later.
#[derive(Debug)]
pub(crate) struct Unanswered<T> {
    waiting: VecDeque<(Sending, T)>,
}

impl<T> Default for Unanswered<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<T> Unanswered<T> {
    /// Waits for one more.
    pub(crate) fn push(&mut self, sending: Sending, known: T) {
        self.waiting.push_back((sending, known));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The answer to the first one and all others that are there by then; without one, waits for ever. May be cancelled:
    /// an answer is taken when it is given.
    pub(crate) async fn answers(&mut self) -> Vec<(Result<Receipt, Error>, T)> {
        poll_fn(|context| {
            let mut answers = Vec::new();
            while let Some((sending, _)) = self.waiting.front_mut() {
                let Poll::Ready(answer) = pin!(sending.receipt()).poll(context) else { break };
                let Some((_, known)) = self.waiting.pop_front() else { break };
                answers.push((answer, known));
            }
            if answers.is_empty() { Poll::Pending } else { Poll::Ready(answers) }
        })
        .await
    }
}

/// Waits for all of these at once, begun in this order.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    type Slot<F> = (Pin<Box<F>>, Option<<F as Future>::Output>);
    let mut slots: Vec<Slot<F>> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut is_done = true;
        for (future, output) in &mut slots {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    slots.into_iter().filter_map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn all_of_them_are_waited_for_and_come_in_order() {
        let (first, second) = (oneshot::channel(), oneshot::channel());
        second.0.send(2).expect("is waited for");
        let told = tokio::spawn(all([first.1, second.1]));
        first.0.send(1).expect("is waited for");
        let outputs = told.await.expect("ends");
        assert_eq!(outputs, [Ok(1), Ok(2)]);
        assert!(all::<oneshot::Receiver<u8>>([]).await.is_empty());
    }
}
