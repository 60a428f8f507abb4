//! `MSG.`

use super::answer::{Fields, Marked, Range, Unread, Written};
use super::{Args, ModuleApi};
use crate::conn::Text;
use crate::frame::{
    Code, FrameError, MsgAppend, MsgEdit, MsgFinish, MsgNumber, MsgPost, MsgRange, MsgReaction, MsgWrite,
};
use crate::names::{LOG, Room};

/// Users whom a message may name, in number: the module takes no more.
const MENTIONS_MAX: usize = 32;

/// Who writes: the user, and the connection if it is one of this front's.
type By<'a> = (&'a str, &'a str);

impl ModuleApi {
    /// `MSG.POST`
    pub async fn msg_post(&self, room: &Room, by: By<'_>, post: &MsgPost) -> Result<Written, FrameError> {
        let args = self.log(room).add(by.0).add(post.body.get());
        let args = args.identity(post.client.as_deref(), post.seq)?;
        let args = args.option("TYPE", post.kind.as_deref()).option("REPLY", post.reply).mentions(&post.mentions)?;
        let args = args.option("META", post.meta.as_deref().map(|meta| meta.get())).flag("STREAMING", post.streaming);
        self.write(room, "MSG.POST", args, by).await
    }

    /// `MSG.EDIT`
    pub async fn msg_edit(&self, room: &Room, by: By<'_>, edit: &MsgEdit) -> Result<Written, FrameError> {
        let args = self.log(room).add(edit.n).add(by.0).add(edit.body.get()).mentions(&edit.mentions)?;
        self.write(room, "MSG.EDIT", args.identity(edit.client.as_deref(), edit.seq)?, by).await
    }

    /// `MSG.DELETE`
    pub async fn msg_delete(&self, room: &Room, by: By<'_>, delete: &MsgWrite) -> Result<Written, FrameError> {
        let args = self.log(room).add(delete.n).add(by.0);
        self.write(room, "MSG.DELETE", args.identity(delete.client.as_deref(), delete.seq)?, by).await
    }

    /// `MSG.CANCEL`
    pub async fn msg_cancel(&self, room: &Room, by: By<'_>, cancel: &MsgWrite) -> Result<Written, FrameError> {
        let args = self.log(room).add(cancel.n).add(by.0);
        self.write(room, "MSG.CANCEL", args.identity(cancel.client.as_deref(), cancel.seq)?, by).await
    }

    /// `MSG.REACT`
    pub async fn msg_react(&self, room: &Room, by: By<'_>, reaction: &MsgReaction) -> Result<Written, FrameError> {
        self.reaction(room, "MSG.REACT", by, reaction).await
    }

    /// `MSG.UNREACT`
    pub async fn msg_unreact(&self, room: &Room, by: By<'_>, reaction: &MsgReaction) -> Result<Written, FrameError> {
        self.reaction(room, "MSG.UNREACT", by, reaction).await
    }

    /// `MSG.APPEND`
    pub async fn msg_append(&self, room: &Room, by: By<'_>, append: &MsgAppend) -> Result<Written, FrameError> {
        let args = self.log(room).add(append.n).add(by.0).add(&append.chunk).option("AT", append.at);
        self.write(room, "MSG.APPEND", args.identity(append.client.as_deref(), append.seq)?, by).await
    }

    /// `MSG.FINISH`
    pub async fn msg_finish(&self, room: &Room, by: By<'_>, finish: &MsgFinish) -> Result<Written, FrameError> {
        let mut args = self.log(room).add(finish.n).add(by.0);
        if let Some(body) = &finish.body {
            args = args.add(body.get());
        }
        self.write(room, "MSG.FINISH", args.identity(finish.client.as_deref(), finish.seq)?, by).await
    }

    /// `MSG.READ` of one user.
    pub async fn msg_read(&self, room: &Room, user: &str, n: u64) -> Result<Marked, FrameError> {
        Marked::read(Fields::read(self.call_durable(room, "MSG.READ", self.log(room).add(user).add(n)).await?)?)
    }

    /// `MSG.UNREAD`
    pub async fn msg_unread(&self, room: &Room, user: &str) -> Result<Unread, FrameError> {
        Unread::read(Fields::read(self.call(room, "MSG.UNREAD", self.log(room).add(user)).await?)?)
    }

    /// `MSG.RANGE`
    pub async fn msg_range(&self, room: &Room, range: &MsgRange) -> Result<Range, FrameError> {
        if [range.before, range.after, range.around].iter().flatten().count() > 1 {
            return Err(FrameError::new(Code::InvalidArgument, "before, after and around: give one of them"));
        }
        let count = range.count.unwrap_or(50);
        if !(1..=100).contains(&count) {
            return Err(FrameError::new(Code::InvalidArgument, "count: 1 to 100"));
        }
        let args = self.log(room).option("BEFORE", range.before).option("AFTER", range.after);
        let args = args.option("AROUND", range.around).option("THREAD", range.thread).add("COUNT").add(count);
        Range::read(Fields::read(self.call(room, "MSG.RANGE", args).await?)?)
    }

    /// `MSG.HISTORY`: the bodies that a message had, oldest first, each JSON.
    pub async fn msg_history(&self, room: &Room, which: &MsgNumber) -> Result<Vec<Text>, FrameError> {
        Fields::read(self.call(room, "MSG.HISTORY", self.log(room).add(which.n)).await?)?.texts("versions")
    }

    async fn reaction(
        &self,
        room: &Room,
        command: &'static str,
        by: By<'_>,
        reaction: &MsgReaction,
    ) -> Result<Written, FrameError> {
        let args = self.log(room).add(reaction.n).add(by.0).add(&reaction.reaction);
        self.write(room, command, args.identity(reaction.client.as_deref(), reaction.seq)?, by).await
    }

    async fn write(&self, room: &Room, command: &'static str, args: Args, by: By<'_>) -> Result<Written, FrameError> {
        let args = args.option("CONN", Some(by.1).filter(|connection| !connection.is_empty()));
        let args = self.limited(args, room, by.0, command);
        Written::read(Fields::read(self.call_durable(room, command, args).await?)?)
    }

    fn log(&self, room: &Room) -> Args {
        Args::key(self.keys.key(room, LOG))
    }
}

impl Args {
    fn mentions(mut self, users: &[String]) -> Result<Self, FrameError> {
        if users.len() > MENTIONS_MAX {
            let message = format!("mentions: a message names at most {MENTIONS_MAX} users");
            return Err(FrameError::new(Code::TooLarge, message));
        }
        for user in users {
            self = self.add("MENTION").add(user);
        }
        Ok(self)
    }
}
