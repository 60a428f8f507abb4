//! Counters, in the text format of Prometheus. No label carries an id: what is counted stays bounded.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($field:ident: $kind:literal $name:literal $help:literal,)*) => {
        /// What a front counts.
        #[derive(Debug, Default)]
        pub struct Metrics { $(#[doc = $help] pub(crate) $field: Counter,)* }

        impl Metrics {
            /// All of it as text.
            pub fn render(&self) -> String {
                let mut out = String::new();
                $(
                    let value = self.$field.get();
                    let _ = writeln!(out, "# HELP {0} {1}\n# TYPE {0} {2}\n{0} {value}", $name, $help, $kind);
                )*
                out
            }
        }
    };
}

counters! {
    connections: "gauge" "stoa_front_connections" "Connections that are open now.",
    connected: "counter" "stoa_front_connections_total" "Connections that were opened.",
    slow: "counter" "stoa_front_slow_connections_total" "Connections closed because they could not keep up.",
    commands: "counter" "stoa_front_commands_total" "Frames from clients.",
    refusals: "counter" "stoa_front_refusals_total" "Frames from clients that were answered with an error.",
    limited: "counter" "stoa_front_rate_limited_total" "Frames from clients that were refused for a limit.",
    turned_away: "counter" "stoa_front_turned_away_total" "Connections and requests that were refused before they began.",
    blocks: "counter" "stoa_front_blocks_total" "Users and addresses that were blocked.",
    audit_dropped: "counter" "stoa_front_audit_dropped_total" "Entries of the audit log that were lost.",
    events: "counter" "stoa_front_events_total" "Events that came from Redis.",
    deliveries: "counter" "stoa_front_deliveries_total" "Events handed to connections.",
    rooms: "gauge" "stoa_front_rooms" "Rooms that are live now.",
    repairs: "counter" "stoa_front_repairs_total" "Reads of what was or may have been missed.",
    resyncs: "counter" "stoa_front_resyncs_total" "Snapshots sent because what was missed could not be had.",
}

/// A number that many threads change.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }
    pub(crate) fn subtract(&self, count: usize) {
        self.0.fetch_sub(count as u64, Ordering::Relaxed);
    }
    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_help_and_its_type() {
        let metrics = Metrics::default();
        metrics.connections.add(3);
        metrics.connections.subtract(1);
        let text = metrics.render();
        assert!(text.contains("# TYPE stoa_front_connections gauge\nstoa_front_connections 2\n"), "{text}");
        assert_eq!(text.matches("# HELP").count(), text.lines().filter(|line| !line.starts_with('#')).count());
    }
}
