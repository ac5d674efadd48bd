//! The tasks at the edges of one connection, and the stream of deltas as its reader holds it.

use crate::link::{READ_BYTES, broken, read_failed, write_failed};
use crate::model::Receipt;
use bytes::Bytes;
use highwater_proto::error::{Code, Error};
use highwater_proto::limits::WIRE_FRAME_BYTES_MAX;
use highwater_proto::wire::{FrameError, FrameReader, ReceiptFrame, ReceivedDelta, ServerFrame, Subscribed};
use prost::Message;
use quinn::{Connection, RecvStream, SendStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Reads of the command stream that wait for the loop. Each holds what came in at a time.
pub(super) const INCOMING_MAX: usize = 4;
/// Packets taken off a delta stream at a time.
const CHUNKS: usize = 32;
/// How long a stream may take to say which subscription it is.
const STREAM_NAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are set aside at once for a delta whose length is known.
const RESERVED_BYTES_MAX: usize = WIRE_FRAME_BYTES_MAX;

/// What comes in on a connection.
pub(super) enum Incoming {
    /// Frames of the command stream, in order.
    Frames(Vec<Frame>),
    /// A delta stream and the subscription it is for.
    Stream(u64, DeltaStream),
    /// Nothing more will come.
    Failed(Error),
}

/// A frame of the command stream.
pub(super) enum Frame {
    /// The receipt for the request with this id.
    Receipt(u64, Receipt),
    /// Any other.
    Other(Box<ServerFrame>),
}

/// The next frame, if all of it has come in.
fn next(reader: &mut FrameReader) -> Result<Option<Frame>, FrameError> {
    let receipt =
        reader.peek()?.and_then(ReceiptFrame::parse).map(|frame| Frame::Receipt(frame.id, frame.to_receipt().into()));
    if receipt.is_some() {
        reader.skip();
        return Ok(receipt);
    }
    Ok(reader.next()?.map(|frame| Frame::Other(Box::new(frame))))
}

/// Takes the command stream apart until it ends.
pub(super) async fn read(mut recv: RecvStream, mut reader: FrameReader, inbox: mpsc::Sender<Incoming>) {
    let failure = loop {
        let mut frames = Vec::new();
        let broken = loop {
            match next(&mut reader) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break None,
                Err(error) => break Some(Error::from(error)),
            }
        };
        if !frames.is_empty() && inbox.send(Incoming::Frames(frames)).await.is_err() {
            return;
        }
        if let Some(error) = broken {
            break error;
        }
        match recv.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => reader.push(&chunk.bytes),
            Ok(None) => break Error::new(Code::Unreachable, "the server ended the session"),
            Err(error) => break read_failed(&error),
        }
    };
    // The loop is gone if it does not listen.
    inbox.send(Incoming::Failed(failure)).await.unwrap_or(());
}

/// Writes what it is given, and at the end waits until the server has it.
pub(super) async fn write(mut send: SendStream, mut buffers: mpsc::Receiver<Bytes>, inbox: mpsc::Sender<Incoming>) {
    while let Some(buffer) = buffers.recv().await {
        if let Err(error) = send.write_chunk(buffer).await {
            // Why the server stopped reading stands on the other half of the stream; only a lost connection is news.
            if matches!(error, quinn::WriteError::ConnectionLost(_)) {
                inbox.send(Incoming::Failed(write_failed(&error))).await.unwrap_or(());
            }
            return;
        }
    }
    if send.finish().is_ok()
        && let Err(error) = send.stopped().await
    {
        tracing::debug!(%error, "the connection ended before the server had everything");
    }
}

/// Takes in the streams that the server opens, each with the name of its subscription.
pub(super) async fn accept(connection: Connection, inbox: mpsc::Sender<Incoming>) {
    loop {
        let recv = match connection.accept_uni().await {
            Ok(recv) => recv,
            Err(error) => {
                inbox.send(Incoming::Failed(broken(&error))).await.unwrap_or(());
                return;
            }
        };
        let mut stream =
            DeltaStream { recv, frames: FrameReader::reserving(RESERVED_BYTES_MAX), replaced: Arc::default() };
        match tokio::time::timeout(STREAM_NAME_TIMEOUT, stream.name()).await {
            Ok(Ok(Some(subscribed))) => {
                if inbox.send(Incoming::Stream(subscribed.subscription, stream)).await.is_err() {
                    return;
                }
            }
            // Dropping it tells the server to stop; whoever waits for it hears of the connection's end, or asks again.
            Ok(Ok(None) | Err(_)) | Err(_) => tracing::debug!("a stream came without a name"),
        }
    }
}

/// The deltas of one subscription on one connection. Dropped, it tells the server to stop.
#[derive(Debug)]
pub(crate) struct DeltaStream {
    recv: RecvStream,
    frames: FrameReader,
    replaced: Arc<AtomicBool>,
}

impl DeltaStream {
    pub(super) fn replaceable(mut self, replaced: Arc<AtomicBool>) -> Self {
        self.replaced = replaced;
        self
    }

    /// Whether another subscription of this client took its place.
    pub(crate) fn was_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// The next delta; `None` once the server has ended the stream. May be cancelled.
    pub(crate) async fn next(&mut self) -> Result<Option<ReceivedDelta>, Error> {
        let Some(frame) = self.frame().await? else { return Ok(None) };
        match ReceivedDelta::decode(frame) {
            Ok(delta) => Ok(Some(delta)),
            Err(error) => Err(self.frames.refuse(error).into()),
        }
    }

    /// Which subscription the stream is for: its first frame.
    async fn name(&mut self) -> Result<Option<Subscribed>, Error> {
        let Some(frame) = self.frame().await? else { return Ok(None) };
        Subscribed::decode(frame).map(Some).map_err(|error| self.frames.refuse(error).into())
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(frame) = self.frames.take()? {
                return Ok(Some(frame));
            }
            let mut chunks = [const { Bytes::new() }; CHUNKS];
            match self.recv.read_chunks(&mut chunks).await {
                Ok(Some(count)) => chunks[..count].iter().for_each(|chunk| self.frames.push(chunk)),
                Ok(None) => {
                    self.frames.finish()?;
                    return Ok(None);
                }
                Err(error) => return Err(read_failed(&error)),
            }
        }
    }
}
