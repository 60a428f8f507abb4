//! Logs to standard error, and traces if the standard `OTEL_*` variables ask for them.

use crate::settings::{LogFormat, Settings};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use tracing::Span;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Share of commands that are traced, unless OTEL_TRACES_SAMPLER_ARG says otherwise.
const TRACED_DEFAULT: f64 = 0.01;

/// The share as a fraction of `u32::MAX`; 0 while nothing is traced.
static TRACED: AtomicU32 = AtomicU32::new(0);

/// A span for a command, if it is one of those that are traced. A span costs a microsecond even if it is thrown away
/// later, so the choice comes before it is made.
pub(crate) fn command_span(name: &'static str) -> Option<Span> {
    let traced = TRACED.load(Ordering::Relaxed);
    if traced == 0 || fastrand() > traced {
        return None;
    }
    Some(tracing::info_span!("command", otel.name = name, otel.kind = "server"))
}

/// A span for a call to the module, inside a traced command.
pub(crate) fn call_span(command: &'static str) -> Span {
    if TRACED.load(Ordering::Relaxed) == 0 || Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(
        "call",
        otel.name = command,
        otel.kind = "client",
        db.system.name = "redis",
        db.operation.name = command
    )
}

/// Chance without a lock or a system call: good enough to choose samples.
fn fastrand() -> u32 {
    thread_local! {
        static STATE: Cell<u32> = Cell::new(u32::from_le_bytes(crate::chance::bytes()) | 1);
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        state.set(x);
        x
    })
}

/// Sends what is left when the process ends.
#[derive(Default)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Sets up logs and traces for the process. Call once, before any runtime: the exporter's client makes its own.
pub fn start(settings: &Settings) -> Result<Telemetry, String> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|e| format!("--log: {e}"))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.log_format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Pretty => lines.boxed(),
    };
    let provider = provider()?;
    let traces =
        provider.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("stoa-front")));
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces)
        .try_init()
        .map_err(|e| format!("logging is set up already: {e}"))?;
    Ok(Telemetry { provider })
}

fn provider() -> Result<Option<SdkTracerProvider>, String> {
    let asked = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    if !asked.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        .map_err(|e| format!("the trace exporter cannot be built: {e}"))?;
    let ratio = std::env::var("OTEL_TRACES_SAMPLER_ARG").ok().and_then(|text| text.parse().ok());
    let ratio: f64 = ratio.unwrap_or(TRACED_DEFAULT);
    TRACED.store((ratio.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32, Ordering::Relaxed);
    let mut resource = opentelemetry_sdk::Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("stoa-front");
    }
    // Commands were chosen before their span was made: what gets here leaves.
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(Sampler::AlwaysOn);
    Ok(Some(provider.with_resource(resource.build()).build()))
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            let _ = provider.shutdown();
        }
    }
}
