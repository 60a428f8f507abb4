//! Every bound of the rules: its name, unit, default and reason.
//!
//! The bounds that an operator may change are fields of [`Bounds`]; the module fills them from its settings.
//! The others are constants because a different value would change what stored data or a name means.

/// Longest room or stream name, in bytes: long enough for a path, short enough to log.
pub const NAME_BYTES_MAX: usize = 200;
/// Longest user, connection, node or client id, in bytes: a UUID, an address or an e-mail fits.
pub const ID_BYTES_MAX: usize = 128;
/// Deepest nesting of JSON that people store, in levels: real payloads need three or four.
pub const JSON_DEPTH_MAX: usize = 32;
/// How many earlier epochs a stream remembers: a failover a day for two weeks.
pub const EPOCHS_KEPT: usize = 16;
/// Sequences remembered per writer: more than a client has in flight at once.
pub const SEQUENCES_PER_WRITER: usize = 64;
/// Users that one message may name: more is everybody.
pub const MENTIONS_MAX: usize = 32;
/// Largest object of the application beside a message's body, in bytes.
pub const META_BYTES_MAX: usize = 4 * 1024;
/// Longest reaction, in bytes: the longest emoji has some 40, `:a_name_of_one:` fits too.
pub const REACTION_BYTES_MAX: usize = 64;
/// Different reactions to one message: more cannot be shown.
pub const REACTIONS_DIFFERENT_MAX: usize = 32;
/// Reactions to one message in all: they are sent with it.
pub const REACTIONS_PER_MESSAGE_MAX: usize = 1_000;
/// Users that a message names for each of its reactions; above it only their number is told.
pub const REACTION_USERS_LISTED: usize = 100;
/// Earlier bodies kept of an edited message.
pub const VERSIONS_KEPT: usize = 10;
/// Bytes of earlier bodies kept of an edited message.
pub const VERSIONS_BYTES_MAX: usize = 64 * 1024;
/// Messages of one log that are streamed at the same time: each has a writer at work.
pub const STREAMS_MAX: usize = 100;
/// Watermarks that one call may move.
pub const READS_PER_CALL_MAX: usize = 100;
/// Watermarks that one frame, and a log's snapshot, tell.
pub const READS_PER_FRAME_MAX: usize = 100;
/// Messages that one call may get by number.
pub const GET_MAX: usize = 100;
/// Messages that one call may trim: some hundred nanoseconds each.
pub const TRIMMED_PER_CALL_MAX: usize = 10_000;

/// The bounds that an operator may change.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Largest body of one message, in bytes.
    pub message_bytes_max: usize,
    /// Largest payload of one ephemeral event, in bytes: a thumbnail or some seconds of speech; in base64 and with its
    /// frame it fits into what a front takes.
    pub payload_bytes_max: usize,
    /// Messages kept in one log.
    pub log_messages_max: usize,
    /// Bytes of messages kept in one log: what a thousand full messages take.
    pub log_bytes_max: usize,
    /// Age of the oldest message kept, in milliseconds.
    pub log_age_ms_max: u64,
    /// Users whose watermarks one log remembers; who moved theirs longest ago is forgotten first.
    pub readers_max: usize,
    /// How long a streamed message may go without an append before the module finishes it, in milliseconds: longer
    /// than a model thinks, shorter than people wait.
    pub message_stream_ms: u64,
    /// Longest text of a document, in bytes of UTF-8.
    pub document_bytes_max: usize,
    /// Largest operation as JSON, in bytes.
    pub operation_bytes_max: usize,
    /// Most components of one operation.
    pub operation_components_max: usize,
    /// Operations kept per document for those who are behind.
    pub document_operations_max: usize,
    /// Bytes of operations kept per document.
    pub document_log_bytes_max: usize,
    /// Age of the oldest operation kept, in milliseconds.
    pub document_age_ms_max: u64,
    /// Tags of one document.
    pub tags_max: usize,
    /// Bytes of text that the tags of one document hold.
    pub tags_bytes_max: usize,
    /// Writers whose last sequences one stream remembers.
    pub writers_max: usize,
    /// How long a writer's sequences are remembered after its last write, in milliseconds.
    pub writer_age_ms_max: u64,
    /// Connections in one room; beyond it a join is refused.
    pub connections_max: usize,
    /// Largest presence data of one connection, in bytes.
    pub presence_bytes_max: usize,
    /// People that a list or an announcement names one by one; above it only their number is told.
    pub people_listed_max: usize,
    /// Users that left whose departure a presence list remembers for those who are behind.
    pub departures_max: usize,
    /// Users that left of whom a presence list remembers when they were last seen; who left first is forgotten first.
    pub presence_seen_max: usize,
    /// Users of whom a room's list says what they may do.
    pub access_entries_max: usize,
    /// Entries in one page of a reply.
    pub page_entries_max: usize,
    /// Bytes in one page of a reply.
    pub page_bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            message_bytes_max: 32 * 1024,
            payload_bytes_max: 256 * 1024,
            log_messages_max: 10_000,
            log_bytes_max: 32 * 1024 * 1024,
            log_age_ms_max: 30 * 24 * 3600 * 1000,
            readers_max: 10_000,
            message_stream_ms: 60_000,
            document_bytes_max: 8 * 1024 * 1024,
            operation_bytes_max: 1024 * 1024,
            operation_components_max: 10_000,
            document_operations_max: 16_384,
            document_log_bytes_max: 16 * 1024 * 1024,
            document_age_ms_max: 30 * 24 * 3600 * 1000,
            tags_max: 32,
            tags_bytes_max: 32 * 1024 * 1024,
            writers_max: 10_000,
            writer_age_ms_max: 24 * 3600 * 1000,
            connections_max: 100_000,
            presence_bytes_max: 1024,
            people_listed_max: 10_000,
            departures_max: 1_000,
            presence_seen_max: 10_000,
            access_entries_max: 10_000,
            page_entries_max: 100,
            page_bytes_max: 1024 * 1024,
        }
    }
}
