//! Prometheus Alertmanager: brings the credentials of its HTTP client configuration.

use super::{
    Answers, Outcome, Source,
    extra::{self, unreadable},
};
use crate::{
    decide::json::{self, Loose, Unreadable, fields},
    model::{Event, EventKind, Inbound, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Alertmanager;

fields! {
    struct Payload {
        version: String = "version",
        status: String = "status",
        group: Loose = "groupKey",
        alerts: Vec<serde_json::Value> = "alerts",
    }
}

/// The fields of an alert that are passed on.
const FIELDS: [&str; 6] = ["status", "labels", "annotations", "startsAt", "endsAt", "fingerprint"];

impl Source for Alertmanager {
    fn name(&self) -> &'static str {
        "Alertmanager"
    }

    fn needs_auth(&self) -> bool {
        true
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let payload: Payload = json::first(request.body).map_err(unreadable)?;
        if payload.version != "4" || !["firing", "resolved"].contains(&&*payload.status) {
            return Err(unreadable(Unreadable("version is not 4, or an unknown status")));
        }
        let group = payload.group.0.unwrap_or_default();
        json::events(payload.alerts.len(), group.len()).map_err(unreadable)?;
        if !payload.alerts.iter().all(json::keeps) {
            return Err(unreadable(Unreadable("an alert is nested too deep")));
        }
        let alerts = payload.alerts.into_iter().map(|mut alert| {
            if let Some(fields) = alert.as_object_mut() {
                fields.retain(|name, _| FIELDS.contains(&&**name));
                fields.insert("groupKey".to_owned(), group.clone().into());
            }
            Event { alert: Some(alert), ..Event::new(EventKind::Alert, &*payload.status) }
        });
        Ok(Outcome::Events(alerts.collect()))
    }

    fn answers(&self) -> Answers {
        extra::answers()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn every_alert_is_an_event() {
        let headers = headers(&[]);
        let parse = |body: &str| {
            Alertmanager.parse(&Inbound { headers: &headers, body: body.as_bytes(), now: 0 })
        };
        let body = r#"{"version":"4","status":"firing","groupKey":"g","alerts":[
            {"status":"firing","labels":{"a":"b"},"generatorURL":"http://10.0.0.1/"},{"status":"resolved"}]}"#;
        let Ok(Outcome::Events(events)) = parse(body) else { panic!() };
        assert_eq!(events.len(), 2);
        let expected = serde_json::json!({"status":"firing","labels":{"a":"b"},"groupKey":"g"});
        assert_eq!(events[0].alert, Some(expected));
        for body in ["", "{}", r#"{"version":"3","status":"firing"}"#, r#"{"version":4}"#] {
            assert!(parse(body).is_err(), "{body}");
        }
    }
}
