//! Nexus Repository Manager.

use super::{
    Answers, Options, Outcome, Source,
    docker_hub::{IMAGE, PAYLOAD},
};
use crate::{
    decide::{
        digest::hex,
        image,
        json::{self, Loose, fields},
        signature::{Algorithm, equal},
    },
    model::{Answer, Event, Header, Inbound, Keys, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Nexus {
    registry_host: String,
    actions: Vec<String>,
    ignore_unwanted: bool,
}

impl Nexus {
    pub(super) fn new(options: &Options) -> Self {
        let mut actions = options.events.clone();
        if actions.is_empty() {
            actions.push("CREATED".to_owned());
        }
        Self {
            registry_host: options.registry_host.trim_end_matches('/').to_owned(),
            actions,
            ignore_unwanted: options.ignore_unwanted && !options.strict_status,
        }
    }
}

fields! { struct Payload { action: String = "action", component: Component = "component" } }
fields! {
    struct Component { format: String = "format", name: String = "name", version: Loose = "version" }
}

impl Source for Nexus {
    fn name(&self) -> &'static str {
        "Nexus"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        if !request.is("x-nexus-webhook-id", "rm:repository:component") {
            return Err(Refusal::event(400, "Unsupported webhook ID"));
        }
        let wrong = |reason| Refusal::credentials(401, "Invalid signature", reason);
        let offered = match request.header("x-nexus-webhook-signature") {
            Header::One(value) if !value.is_empty() => value,
            Header::Differ => return Err(wrong("different signatures")),
            Header::Missing | Header::One(_) => {
                let text = "Signature is missing from header";
                return Err(Refusal::credentials(401, text, "no signature"));
            }
        };
        // The text is compared, not the bytes that it means: capital digits do not pass.
        let matches = keys.any(request.now, |key| {
            equal(hex(&Algorithm::Sha1.hmac(key, &[request.body])).as_bytes(), offered)
        });
        matches.then_some(()).ok_or_else(|| wrong("signature does not match"))
    }

    fn broken(&self) -> &'static str {
        "Cannot read payload"
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let Payload { action, component } =
            json::whole(request.body).map_err(|error| Refusal::payload(400, PAYLOAD, error.0))?;
        let wanted = self.actions.contains(&action);
        if component.format != "docker" || !wanted {
            return if self.ignore_unwanted {
                Ok(Outcome::Nothing(Answer::EMPTY))
            } else {
                Err(Refusal::event(400, "Ignoring component format"))
            };
        }
        let reference = if self.registry_host.is_empty() {
            component.name
        } else {
            format!("{}/{}", self.registry_host, component.name)
        };
        let mut image = image::split(&reference)
            .map_err(|_| Refusal::payload(400, IMAGE, "component.name is no image"))?;
        image.tags.extend(component.version.0);
        Ok(Outcome::Events(vec![Event::image(action, image)]))
    }

    fn answers(&self) -> Answers {
        Answers::image()
    }

    fn id_headers(&self) -> &'static [&'static str] {
        &["x-nexus-webhook-delivery"]
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    const BODY: &str = r#"{"action":"CREATED","component":{"format":"docker","name":"team/api"}}"#;
    const MAC: &str = "8cd8f197531e03ec9348099afc1e96d487598ef4";
    const ID: (&str, &str) = ("x-nexus-webhook-id", "rm:repository:component");

    fn plain() -> Nexus {
        Nexus::new(&Options::default())
    }

    #[test]
    fn the_vector_of_the_contract_passes_and_little_else() {
        let check = |headers: &[(&str, &str)]| verified(&plain(), headers, BODY);
        let with = |mac: &str| check(&[ID, ("x-nexus-webhook-signature", mac)]);
        let wrong = Err((401, "Invalid signature".into()));
        assert_eq!(with(MAC), Ok(()));
        assert_eq!(with(&MAC.to_uppercase()), wrong);
        assert_eq!(with(&MAC[1..]), wrong);
        assert_eq!(with(&format!("sha1={MAC}")), wrong);
        let missing = Err((401, "Signature is missing from header".into()));
        assert_eq!(check(&[ID]), missing);
        let id = Err((400, "Unsupported webhook ID".into()));
        assert_eq!(check(&[("x-nexus-webhook-signature", MAC)]), id);
    }

    #[test]
    fn the_host_is_put_before_the_name() {
        let by = |options: Options, body: &str| told(&Nexus::new(&options), &[], body);
        let host = |host: &str| Options { registry_host: host.into(), ..Options::default() };
        assert_eq!(by(host(""), BODY), Ok(vec![image("", "team/api")]));
        for name in ["reg.example.com", "reg.example.com/", "reg.example.com//"] {
            assert_eq!(by(host(name), BODY), Ok(vec![image("reg.example.com", "team/api")]));
        }
        assert_eq!(by(host(""), &BODY.replace("team/api", "")), Err((400, IMAGE.into())));
    }

    #[test]
    fn other_components_are_refused_or_ignored() {
        let refused = Err((400, "Ignoring component format".into()));
        for body in
            [BODY.replace("docker", "maven2"), BODY.replace("CREATED", "UPDATED"), "{}".into()]
        {
            assert_eq!(told(&plain(), &[], &body), refused);
            let kind = Nexus::new(&Options { ignore_unwanted: true, ..Options::default() });
            assert_eq!(told(&kind, &[], &body), Err((200, String::new())));
        }
        for body in ["", "null", "{} x", r#"{"component":1}"#] {
            assert_eq!(told(&plain(), &[], body), Err((400, PAYLOAD.into())), "{body}");
        }
        let events = vec!["UPDATED".into()];
        let updated = Nexus::new(&Options { events, ..Options::default() });
        let body = BODY.replace("CREATED", "UPDATED");
        assert_eq!(told(&updated, &[], &body), Ok(vec![image("", "team/api")]));
    }
}
