//! SubjectAccessReviews, remembered for a short time.

use std::{fmt, sync::Arc, time::Duration};

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use moka::sync::Cache;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::time::Instant;
use web::{Error, Identity};

use super::Attributes;
use crate::error;

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(10);
/// How long reads go on by an old answer while the cluster cannot be asked: what it last said is
/// better than locking everybody out of what is known.
const LAST_WORD: Duration = Duration::from_secs(600);
/// Answers that are remembered.
const ANSWERS: u64 = 20_000;

/// Asks the cluster what callers may do. Cheap to clone; clones share what they remember.
#[derive(Clone)]
pub struct Reviews(Arc<Inner>);

struct Inner {
    api: Api<SubjectAccessReview>,
    answers: Cache<Question, Answer>,
    asked: Family<Answered, Counter>,
}

/// How a question was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    by: &'static str,
}

/// An answer that still counts.
const REMEMBERED: Answered = Answered { by: "memory" };
/// An answer of the cluster.
const ASKED: Answered = Answered { by: "cluster" };
/// An old answer, since the cluster did not give one.
const LAST: Answered = Answered { by: "last_word" };
/// None.
const FAILED: Answered = Answered { by: "nobody" };

impl fmt::Debug for Reviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reviews").finish_non_exhaustive()
    }
}

/// Everything that the answer depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    caller: Identity,
    /// Verb, group, version, resource.
    what: [&'static str; 4],
    namespace: Option<Box<str>>,
    name: Option<Box<str>>,
}

#[derive(Clone, Copy)]
struct Answer {
    allowed: bool,
    at: Instant,
}

impl Question {
    fn new(caller: &Identity, attributes: &Attributes<'_>) -> Self {
        let Attributes { verb, group, version, resource, namespace, name } = *attributes;
        Self {
            caller: caller.clone(),
            what: [verb, group, version, resource],
            namespace: namespace.map(Into::into),
            name: name.map(Into::into),
        }
    }

    fn is_read(&self) -> bool {
        matches!(self.what[0], "get" | "list" | "watch")
    }

    fn review(&self) -> SubjectAccessReview {
        let text = |text: &str| Some(text.to_owned());
        let [verb, group, version, resource] = self.what;
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: text(&self.caller.user),
                groups: Some(self.caller.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: text(verb),
                    group: text(group),
                    version: text(version),
                    resource: text(resource),
                    namespace: self.namespace.as_deref().and_then(text),
                    name: self.name.as_deref().and_then(text),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }
}

impl Reviews {
    /// Asks this cluster.
    pub fn new(client: &Client) -> Self {
        let answers = Cache::builder().max_capacity(ANSWERS).time_to_live(LAST_WORD).build();
        let asked = Family::default();
        Self(Arc::new(Inner { api: Api::all(client.clone()), answers, asked }))
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Questions whether a caller may do something, by who answered";
        registry.register("access_reviews", help, self.0.asked.clone());
    }

    fn count(&self, answered: &Answered) {
        self.0.asked.get_or_create(answered).inc();
    }

    /// Whether the cluster allows it.
    pub(super) async fn allowed(
        &self,
        caller: &Identity,
        attributes: &Attributes<'_>,
    ) -> Result<bool, Error> {
        let question = Question::new(caller, attributes);
        let known = self.0.answers.get(&question);
        if let Some(answer) = known
            && answer.at.elapsed() < FRESH
        {
            self.count(&REMEMBERED);
            return Ok(answer.allowed);
        }
        // Apart: every request waits in what this makes, and hardly one of them for the cluster.
        Box::pin(self.ask(question, known)).await
    }

    async fn ask(&self, question: Question, known: Option<Answer>) -> Result<bool, Error> {
        match self.0.api.create(&PostParams::default(), &question.review()).await {
            Ok(review) => {
                self.count(&ASKED);
                let status = review.status.unwrap_or_default();
                // An error beside the verdict is the cluster's own; the verdict stands.
                if let Some(error) = status.evaluation_error {
                    tracing::debug!(error, "the cluster had trouble with an access review");
                }
                let allowed = status.allowed && !status.denied.unwrap_or(false);
                self.0.answers.insert(question, Answer { allowed, at: Instant::now() });
                Ok(allowed)
            }
            Err(source) => match known {
                Some(answer) if question.is_read() && error::is_unanswered(&source) => {
                    self.count(&LAST);
                    Ok(answer.allowed)
                }
                _ => {
                    self.count(&FAILED);
                    Err(failed(source))
                }
            },
        }
    }
}

/// A failed review is never the caller's fault.
fn failed(source: kube::Error) -> Error {
    if error::is_unanswered(&source) { error::public(source) } else { Error::internal(source) }
}
