//! What comes in, as it comes in: server-sent events for the live log.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, stream};
use tokio::sync::broadcast::error::RecvError;

use super::{
    Admin,
    answer::Problem,
    gate::{Caller, Want},
};

/// How often something is sent when nothing comes in.
const PULSE: Duration = Duration::from_secs(15);

pub(super) async fn stream(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let live = admin.receiver.recent().listen();
    let events = stream::unfold((live, caller), |(mut live, mut caller)| async move {
        loop {
            let entry = match live.recv().await {
                Ok(entry) => entry,
                Err(RecvError::Lagged(missed)) => {
                    let event = Event::default().event("missed").data(missed.to_string());
                    return Some((Ok(event), (live, caller)));
                }
                Err(RecvError::Closed) => return None,
            };
            // Rights may be taken away while the stream runs.
            caller.forget();
            match caller.may(Want::See, &entry.endpoint).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(_) => return None,
            }
            let event = Event::default().id(entry.id.to_string()).event("delivery");
            if let Ok(event) = event.json_data(&*entry) {
                return Some((Ok(event), (live, caller)));
            }
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(PULSE)))
}
