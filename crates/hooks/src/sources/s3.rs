//! Bucket notifications: S3's format as MinIO and others send it, and Ceph's dialect of it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use super::{
    Answers, Options, Outcome, Source,
    extra::{self, IGNORED, invalid, unreadable},
};
use crate::{
    decide::{
        digest::hex,
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
    opaque: Option<Keys>,
}

impl S3 {
    pub(super) fn new(name: &'static str, options: &Options) -> Self {
        Self { opaque: options.opaque_token.clone(), ceph: name == "CephRGW", name }
    }

    /// The original.
    pub(super) fn plain() -> Self {
        Self { name: "S3", ceph: false, opaque: None }
    }
}

fields! { struct Payload { records: Vec<Record> = "Records", test: Loose = "Event" } }
fields! {
    struct Record {
        event: String = "eventName",
        time: Loose = "eventTime",
        s3: Entity = "s3",
        id: Loose = "eventId",
        opaque: Loose = "opaqueData",
    }
}
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

impl Record {
    /// What tells it from other records: without one of these, two writes of a key look the same.
    fn id(&self) -> Option<String> {
        let Entity { bucket, object } = &self.s3;
        self.id.0.clone().or_else(|| {
            let version = object.version.0.as_deref().unwrap_or_default();
            let sequencer = object.sequencer.0.as_ref()?;
            Some(format!("{} {} {version} {sequencer}", bucket.name, object.key))
        })
    }
}

/// Whether there are records and all of them carry one of these tokens.
fn carries(request: &Inbound<'_>, tokens: &Keys) -> bool {
    let Ok(Payload { records, .. }) = json::first(request.body) else { return false };
    let right = |record: &Record| {
        let carried = record.opaque.0.as_deref().unwrap_or_default();
        tokens.any(request.now, |token| equal(token, carried.as_bytes()))
    };
    !records.is_empty() && records.iter().all(right)
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
        self.ceph && self.opaque.is_none()
    }

    /// `Authorization: Bearer <key>`; a key of two words is the whole header. Ceph sends none, but its
    /// records may carry a token.
    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        if self.ceph {
            let right = self.opaque.as_ref().is_none_or(|tokens| carries(request, tokens));
            return right.then_some(()).ok_or(invalid("the opaque data is no token"));
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

    fn delivery_id<'a>(&self, request: &Inbound<'a>) -> Option<Cow<'a, str>> {
        let Payload { records, .. } = json::first(request.body).ok()?;
        let mut ids = records.iter().map(Record::id).collect::<Option<Vec<_>>>()?;
        match ids.len() {
            0 | 1 => ids.pop().map(Cow::Owned),
            _ => Some(Cow::Owned(hex(&Sha256::digest(ids.join("\n"))))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn objects(name: &'static str, body: &str) -> Vec<(EventKind, Object)> {
        let headers = headers(&[]);
        let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
        match S3::new(name, &Options::default()).parse(&request) {
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
        let check = |value: &str| verified(&S3::plain(), &[("authorization", value)], "{}");
        assert_eq!(check(&good), Ok(()));
        assert_eq!(check(std::str::from_utf8(KEY).unwrap()), wrong);
        assert_eq!(verified(&S3::plain(), &[], "{}"), wrong);
    }

    #[test]
    fn records_of_ceph_may_carry_a_token() {
        let opaque_token = Some(Keys(vec![crate::model::Key::new(b"s3cret\n".to_vec(), None)]));
        let options = Options { opaque_token, ..Options::default() };
        let source = S3::new("CephRGW", &options);
        assert!(!source.needs_auth());
        let check = |body: &str| verified(&source, &[], body);
        let wrong = Err((401, "invalid signature".into()));
        let right = r#"{"opaqueData":"s3cret"}"#;
        let records = |all: &str| format!(r#"{{"Records":[{all}]}}"#);
        assert_eq!(check(&records(right)), Ok(()));
        assert_eq!(check(&records(&format!("{right},{right}"))), Ok(()));
        let bad = [r#"{"opaqueData":"other"}"#, r#"{"opaqueData":["s3cret"]}"#, "{}", ""];
        for other in bad.map(|other| records(&format!("{right},{other}"))) {
            assert_eq!(check(&other), wrong, "{other}");
        }
        for body in ["", "{}", "[]", &records("")] {
            assert_eq!(check(body), wrong, "{body}");
        }
        assert!(S3::new("CephRGW", &Options::default()).needs_auth());
    }

    #[test]
    fn records_have_ids() {
        let id = |body: &str| {
            let headers = headers(&[]);
            let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
            S3::plain().delivery_id(&request).map(Cow::into_owned)
        };
        let thing = |key: &str, more: &str| {
            format!(r#"{{"s3":{{"bucket":{{"name":"b"}},"object":{{"key":"{key}"{more}}}}}}}"#)
        };
        let records = |all: &[String]| format!(r#"{{"Records":[{}]}}"#, all.join(","));
        let one = thing("k", r#","versionId":"v","sequencer":"01""#);
        assert_eq!(id(&records(std::slice::from_ref(&one))).as_deref(), Some("b k v 01"));
        let bare = thing("k", r#","sequencer":"01""#);
        assert_eq!(id(&records(&[bare])).as_deref(), Some("b k  01"));
        let ceph = r#"{"eventId":"17.4","s3":{}}"#.to_owned();
        assert_eq!(id(&records(std::slice::from_ref(&ceph))).as_deref(), Some("17.4"));
        let both = id(&records(&[one.clone(), ceph.clone()]));
        assert!(both.as_ref().is_some_and(|id| id.len() == 64));
        assert_ne!(both, id(&records(&[ceph, one.clone()])));
        // Nothing tells two writes of the same key apart.
        assert_eq!(id(&records(&[one, thing("k", "")])), None);
        for body in ["", "{}", &records(&[])] {
            assert_eq!(id(body), None, "{body}");
        }
    }

    #[test]
    fn the_rest_has_its_answer() {
        let by = |body: &str| told(&S3::plain(), &[], body);
        assert_eq!(by(r#"{"Event":"s3:TestEvent"}"#), Err((200, "OK".into())));
        assert_eq!(by("{}"), Err((200, "ignored".into())));
        for body in ["", "[]", r#"{"Records":[{"eventName":"ObjectCreated:Put"}]}"#] {
            assert_eq!(by(body), Err((400, "cannot decode payload".into())), "{body}");
        }
    }
}
