//! Bucket notifications: S3's format as MinIO and others send it, and Ceph's dialect of it.

use percent_encoding::percent_decode_str;

use super::{
    Answers, Outcome, Source,
    extra::{self, IGNORED, invalid, unreadable},
};
use crate::{
    decide::{
        json::{self, Loose, Unreadable, fields},
        signature::equal,
    },
    model::{Event, EventKind, Inbound, Keys, Object, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct S3 {
    name: &'static str,
    ceph: bool,
}

impl S3 {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, ceph: name == "CephRGW" }
    }
}

fields! { struct Payload { records: Vec<Record> = "Records", test: Loose = "Event" } }
fields! { struct Record { event: String = "eventName", time: Loose = "eventTime", s3: Entity = "s3" } }
fields! { struct Entity { bucket: Bucket = "bucket", object: Thing = "object" } }
fields! { struct Bucket { name: String = "name" } }
fields! {
    struct Thing {
        key: String = "key",
        size: serde_json::Value = "size",
        e_tag: Loose = "eTag",
        version: Loose = "versionId",
        sequencer: Loose = "sequencer",
    }
}

impl S3 {
    fn event(&self, record: Record) -> Result<Option<Event>, Unreadable> {
        let name = record.event.strip_prefix("s3:").unwrap_or(&record.event);
        let kind = match name.split(':').next().unwrap_or_default() {
            "ObjectCreated" => EventKind::ObjectCreated,
            "ObjectRemoved" | "ObjectLifecycle" => EventKind::ObjectRemoved,
            _ => return Ok(None),
        };
        let Entity { bucket, object } = record.s3;
        if bucket.name.is_empty() || object.key.is_empty() {
            return Err(Unreadable("no bucket or key"));
        }
        let key = if self.ceph {
            object.key
        } else {
            let spaced = object.key.replace('+', " ");
            let decoded = percent_decode_str(&spaced).decode_utf8();
            decoded.map_err(|_| Unreadable("a key is no text"))?.into_owned()
        };
        json::name(&key).and(json::name(&bucket.name))?;
        let size = object.size.as_u64().or_else(|| object.size.as_str()?.parse().ok());
        let object = Object {
            bucket: bucket.name,
            key,
            size,
            e_tag: object.e_tag.0,
            version_id: object.version.0,
            event_name: name.to_owned(),
            sequencer: object.sequencer.0,
        };
        let deleted = kind == EventKind::ObjectRemoved;
        let occurred_at = record.time.0;
        Ok(Some(Event { object: Some(object), deleted, occurred_at, ..Event::new(kind, name) }))
    }
}

impl Source for S3 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn needs_auth(&self) -> bool {
        self.ceph
    }

    /// `Authorization: Bearer <key>`; a key of two words is the whole header.
    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        if self.ceph {
            return Ok(());
        }
        let sent = request.header("authorization").one().ok_or(invalid("no token"))?;
        let matches = keys.any(request.now, |key| {
            if key.contains(&b' ') {
                equal(key, sent)
            } else {
                equal(&[b"Bearer ", key].concat(), sent)
            }
        });
        matches.then_some(()).ok_or(invalid("token mismatch"))
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let payload: Payload = json::first(request.body).map_err(unreadable)?;
        if payload.test.0.as_deref() == Some("s3:TestEvent") {
            return Ok(Outcome::Nothing(crate::model::Answer::OK));
        }
        json::events(payload.records.len(), 0).map_err(unreadable)?;
        let mut events = Vec::new();
        for record in payload.records {
            events.extend(self.event(record).map_err(unreadable)?);
        }
        Ok(if events.is_empty() { Outcome::Nothing(IGNORED) } else { Outcome::Events(events) })
    }

    fn answers(&self) -> Answers {
        extra::answers()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn objects(name: &'static str, body: &str) -> Vec<(EventKind, Object)> {
        let headers = headers(&[]);
        let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
        match S3::new(name).parse(&request) {
            Ok(Outcome::Events(events)) => {
                events.into_iter().map(|event| (event.kind, event.object.unwrap())).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    const BODY: &str = r#"{"EventName":"s3:ObjectCreated:Put","Key":"b/k","Records":[
        {"eventName":"s3:ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"a%2Fb+c%2B","size":5}}},
        {"eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"b"},"object":{"key":"x","size":"7"}}},
        {"eventName":"s3:ObjectAccessed:Get","s3":{"bucket":{"name":"b"},"object":{"key":"x"}}}]}"#;

    #[test]
    fn keys_are_decoded_as_each_sender_writes_them() {
        let told = objects("MinIO", BODY);
        assert_eq!(told.len(), 2);
        assert_eq!(
            (told[0].0, &*told[0].1.key, told[0].1.size),
            (EventKind::ObjectCreated, "a/b c+", Some(5))
        );
        assert_eq!(
            (told[1].0, &*told[1].1.key, told[1].1.size),
            (EventKind::ObjectRemoved, "x", Some(7))
        );
        assert_eq!(objects("CephRGW", BODY)[0].1.key, "a%2Fb+c%2B");
    }

    #[test]
    fn tokens_are_bearers_or_whole_headers() {
        let good = format!("Bearer {}", std::str::from_utf8(KEY).unwrap());
        let wrong = Err((401, "invalid signature".into()));
        let check = |value: &str| verified(&S3::new("S3"), &[("authorization", value)], "{}");
        assert_eq!(check(&good), Ok(()));
        assert_eq!(check(std::str::from_utf8(KEY).unwrap()), wrong);
        assert_eq!(verified(&S3::new("S3"), &[], "{}"), wrong);
    }

    #[test]
    fn the_rest_has_its_answer() {
        let by = |body: &str| told(&S3::new("S3"), &[], body);
        assert_eq!(by(r#"{"Event":"s3:TestEvent"}"#), Err((200, "OK".into())));
        assert_eq!(by("{}"), Err((200, "ignored".into())));
        for body in ["", "[]", r#"{"Records":[{"eventName":"ObjectCreated:Put"}]}"#] {
            assert_eq!(by(body), Err((400, "cannot decode payload".into())), "{body}");
        }
    }
}
