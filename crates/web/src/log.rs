//! Log lines, and which request each of them is about.
//!
//! Not a span: a subscriber writes the fields of a span down when it begins, and hardly one request
//! of a thousand logs a line.

use std::{fmt, future::Future, sync::Arc};

use http::HeaderValue;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use crate::Head;

tokio::task_local! {
    static REQUEST: Arc<About>;
}

/// What every line about a request says.
#[derive(Debug)]
pub(crate) struct About {
    /// The listener that it came to.
    pub(crate) listener: &'static str,
    /// Its id.
    pub(crate) id: HeaderValue,
    /// Of its target only the path: a query may carry a ticket.
    pub(crate) head: Head,
}

impl About {
    /// Does the work on a request: each line that is logged by it says so.
    pub(crate) fn scope<F: Future>(self: Arc<Self>, work: F) -> impl Future<Output = F::Output> {
        REQUEST.scope(self, work)
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listener, id, head } = self;
        let id = id.to_str().unwrap_or_default();
        let path = head.uri.path();
        write!(f, "request{{listener={listener:?} id={id:?} method={} path={path:?}}}", head.method)
    }
}

/// The form of a log line: time, level, request, module, what happened.
#[derive(Debug)]
pub struct Lines {
    rest: Format<Full, ()>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { rest: Format::default().without_time().with_level(false) }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = event.metadata().level();
        let (dim, bright, plain) = match line.has_ansi_escapes() {
            true => ("\x1b[2m", colour(level), "\x1b[0m"),
            false => ("", "", ""),
        };
        write!(line, "{dim}")?;
        SystemTime.format_time(&mut line)?;
        write!(line, "{plain} {bright}{:>5}{plain} ", level.as_str())?;
        // Outside of requests there is none.
        REQUEST.try_with(|about| write!(line, "{about}: ")).unwrap_or(Ok(()))?;
        self.rest.format_event(context, line, event)
    }
}

fn colour(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}
