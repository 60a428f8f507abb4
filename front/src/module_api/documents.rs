//! `DOC.`

use super::answer::{DocumentAt, DocumentInfo, Fields, Operations, Submitted};
use super::{Args, ModuleApi};
use crate::frame::{Create, DocRestore, DocSubmit, DocTag, DocUndo, FrameError};
use crate::names::Room;
use stoa_core::epoch::Position;

/// What the writer of an undo has after the id of the client whose edits it takes back.
const UNDO_SUFFIX: &str = ":undo";

impl ModuleApi {
    /// `DOC.CREATE`: whether it was missing.
    pub async fn doc_create(&self, room: &Room, stream: &str, create: &Create) -> Result<(), FrameError> {
        let args = Args::key(self.keys.key(room, stream)).add(&create.kind);
        let args = args.add(create.content.as_deref().unwrap_or_default());
        self.call_durable(room, "DOC.CREATE", args).await.map(drop)
    }

    /// `DOC.SUBMIT`
    pub async fn doc_submit(
        &self,
        room: &Room,
        stream: &str,
        by: (&str, &str),
        submit: &DocSubmit,
    ) -> Result<Submitted, FrameError> {
        let args = Args::key(self.keys.key(room, stream)).add(submit.rev).add(submit.op.get());
        let args = args.identity(submit.client.as_deref(), submit.seq)?;
        let args = args.option("EPOCH", submit.epoch.as_deref()).option("LEN", submit.len);
        let args = args.add("BY").add(by.0).add(by.1);
        let args = self.limited(args, room, by.0, "DOC.SUBMIT");
        Submitted::read(Fields::read(self.call_durable(room, "DOC.SUBMIT", args).await?)?)
    }

    /// `DOC.UNDO`, written as a client of its own: its sequences must not stand between those of the edits, which may
    /// be sent again after it; and to the author, too, it is a change that came from elsewhere.
    pub async fn doc_undo(
        &self,
        room: &Room,
        stream: &str,
        by: (&str, &str),
        undo: &DocUndo,
    ) -> Result<Submitted, FrameError> {
        let args = Args::key(self.keys.key(room, stream)).add(&undo.client);
        let writer = undo.seq.map(|_| format!("{}{UNDO_SUFFIX}", undo.client));
        let args = args.identity(writer.as_deref(), undo.seq)?.add("BY").add(by.0).add(by.1);
        let args = self.limited(args, room, by.0, "DOC.UNDO");
        Submitted::read(Fields::read(self.call_durable(room, "DOC.UNDO", args).await?)?)
    }

    /// `DOC.INFO`
    pub async fn doc_info(&self, room: &Room, stream: &str) -> Result<DocumentInfo, FrameError> {
        let args = Args::key(self.keys.key(room, stream));
        DocumentInfo::read(Fields::read(self.call(room, "DOC.INFO", args).await?)?)
    }

    /// `DOC.TAG`: where the document is.
    pub async fn doc_tag(&self, room: &Room, stream: &str, tag: &DocTag) -> Result<Position, FrameError> {
        let args = Args::key(self.keys.key(room, stream)).add(&tag.name).flag("DROP", tag.drop);
        Fields::read(self.call_durable(room, "DOC.TAG", args).await?)?.position()
    }

    /// `DOC.RESTORE`
    pub async fn doc_restore(
        &self,
        room: &Room,
        stream: &str,
        by: (&str, &str),
        restore: &DocRestore,
    ) -> Result<Submitted, FrameError> {
        let args = Args::key(self.keys.key(room, stream)).add(&restore.name);
        let args = args.identity(restore.client.as_deref(), restore.seq)?.add("BY").add(by.0).add(by.1);
        let args = self.limited(args, room, by.0, "DOC.RESTORE");
        Submitted::read(Fields::read(self.call_durable(room, "DOC.RESTORE", args).await?)?)
    }

    /// `DOC.CURSOR`: `cursor` is JSON, `null` for nowhere.
    pub async fn doc_cursor(
        &self,
        room: &Room,
        stream: &str,
        by: (&str, &str),
        rev: u64,
        cursor: &str,
    ) -> Result<(), FrameError> {
        let args = Args::key(self.keys.key(room, stream)).add(by.1).add(rev).add(cursor).add("BY").add(by.0);
        self.call(room, "DOC.CURSOR", args).await.map(drop)
    }

    /// `DOC.CURSOR` with `null`. One that Redis does not hear of ends by itself.
    pub async fn doc_cursors_end(&self, room: &Room, by: (&str, &str), streams: impl IntoIterator<Item = String>) {
        for stream in streams {
            if let Err(error) = self.doc_cursor(room, &stream, by, 0, "null").await {
                tracing::debug!(%room, stream, %error, "a cursor was not ended");
            }
        }
    }

    /// `DOC.GET`
    pub async fn doc_get(&self, room: &Room, stream: &str, rev: Option<u64>) -> Result<DocumentAt, FrameError> {
        let args = Args::key(self.keys.key(room, stream)).option("REV", rev);
        DocumentAt::read(Fields::read(self.call(room, "DOC.GET", args).await?)?)
    }

    /// `DOC.OPS`
    pub async fn doc_ops(
        &self,
        room: &Room,
        stream: &str,
        from: u64,
        to: Option<u64>,
        epoch: Option<&str>,
    ) -> Result<Operations, FrameError> {
        let mut args = Args::key(self.keys.key(room, stream)).add(from);
        if let Some(to) = to {
            args = args.add(to);
        }
        let args = args.option("EPOCH", epoch);
        Operations::read(Fields::read(self.call(room, "DOC.OPS", args).await?)?)
    }
}
