//! Events one by one, for those who combine streams.

use super::{Event, Subscription};
use crate::store::CheckpointStore;
use futures_core::Stream;
use highwater_proto::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

type NextEvent<S> = Pin<Box<dyn Future<Output = (Box<Subscription<S>>, Option<Result<Event, Error>>)> + Send>>;

pub(super) enum Step<S: CheckpointStore> {
    Ready(Box<Subscription<S>>),
    Waiting(NextEvent<S>),
    Ended,
}

/// A subscription's events as a [`Stream`], made by [`Subscription::into_stream`].
pub struct EventStream<S: CheckpointStore> {
    pub(super) step: Step<S>,
}

impl<S: CheckpointStore> fmt::Debug for EventStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

// Neither the box nor the pinned future moves when this does.
impl<S: CheckpointStore> Unpin for EventStream<S> {}

impl<S: CheckpointStore + Sync> Stream for EventStream<S> {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut waiting: NextEvent<S> = match std::mem::replace(&mut self.step, Step::Ended) {
            Step::Ready(mut subscription) => Box::pin(async move {
                let event = subscription.next().await;
                (subscription, event)
            }),
            Step::Waiting(future) => future,
            Step::Ended => return Poll::Ready(None),
        };
        match waiting.as_mut().poll(context) {
            Poll::Pending => {
                self.step = Step::Waiting(waiting);
                Poll::Pending
            }
            Poll::Ready((subscription, event)) => {
                if event.is_some() {
                    self.step = Step::Ready(subscription);
                }
                Poll::Ready(event)
            }
        }
    }
}
