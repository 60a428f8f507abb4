//! Logs to standard error, and traces if the standard `OTEL_*` variables ask for them.

use crate::settings::{LogFormat, Settings};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Share of traces that leave, unless OTEL_TRACES_SAMPLER_ARG says otherwise.
const SAMPLED_DEFAULT: f64 = 0.01;

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
    let ratio: f64 = ratio.unwrap_or(SAMPLED_DEFAULT);
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("stoa-front").build();
    Ok(Some(
        SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            .with_resource(resource)
            .build(),
    ))
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            let _ = provider.shutdown();
        }
    }
}
