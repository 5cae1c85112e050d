//! The options of a kind, as users choose from them and as a workspace shows its choice.

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::{
    ImageConfigValue, OptionLabel, OptionRedirect, OptionSpawner, OptionStatus, PodConfigValue,
    RedirectMessage, RedirectMessageLevel,
};

/// What both kinds of options have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OptionView<'a> {
    pub(crate) id: &'a str,
    pub(crate) spawner: &'a OptionSpawner,
    pub(crate) redirect: Option<&'a OptionRedirect>,
}

impl<'a> From<&'a ImageConfigValue> for OptionView<'a> {
    fn from(value: &'a ImageConfigValue) -> Self {
        Self { id: &value.id, spawner: &value.spawner, redirect: value.redirect.as_ref() }
    }
}

impl<'a> From<&'a PodConfigValue> for OptionView<'a> {
    fn from(value: &'a PodConfigValue) -> Self {
        Self { id: &value.id, spawner: &value.spawner, redirect: value.redirect.as_ref() }
    }
}

/// One option in short.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OptionInfo<'a> {
    id: &'a str,
    display_name: &'a str,
    description: &'a str,
    labels: &'a [OptionLabel],
}

/// What a workspace has chosen and where that leads.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Chosen<'a> {
    current: OptionInfo<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redirect_chain: Vec<RedirectStep<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RedirectStep<'a> {
    source: OptionInfo<'a>,
    target: OptionInfo<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
}

/// The same as 2025-07 shows it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OldChosen<'a> {
    current: OptionInfo<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    desired: Option<OptionInfo<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redirect_chain: Vec<OldRedirectStep<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OldRedirectStep<'a> {
    source_id: &'a str,
    target_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
}

/// What users are told about a redirect.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Message<'a> {
    text: &'a str,
    level: RedirectMessageLevel,
}

impl<'a> From<&'a RedirectMessage> for Message<'a> {
    fn from(message: &'a RedirectMessage) -> Self {
        Self { text: &message.text, level: message.level }
    }
}

/// The options of one list, and what stands for an id that is not among them.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    values: Vec<OptionView<'a>>,
    unknown: &'static str,
}

impl<'a> Options<'a> {
    pub(crate) fn new<T: 'a>(values: Option<&'a [T]>, unknown: &'static str) -> Self
    where
        OptionView<'a>: From<&'a T>,
    {
        let values = values.unwrap_or_default().iter().map(OptionView::from).collect();
        Self { values, unknown }
    }

    pub(crate) fn chosen(&self, id: &'a str, status: Option<&'a OptionStatus>) -> Chosen<'a> {
        let chain = status.map_or(&[][..], |status| &status.redirect_chain);
        let steps = chain.iter().map(|step| RedirectStep {
            source: self.info(&step.source),
            target: self.info(&step.target),
            message: self.message(step),
        });
        Chosen { current: self.info(id), redirect_chain: steps.collect() }
    }

    pub(crate) fn chosen_old(
        &self,
        id: &'a str,
        status: Option<&'a OptionStatus>,
    ) -> OldChosen<'a> {
        let chain = status.map_or(&[][..], |status| &status.redirect_chain);
        let steps = chain.iter().map(|step| OldRedirectStep {
            source_id: &step.source,
            target_id: &step.target,
            message: self.message(step),
        });
        let desired = status.and_then(|status| status.desired.as_deref());
        OldChosen {
            current: self.info(id),
            desired: desired.filter(|desired| *desired != id).map(|desired| self.info(desired)),
            redirect_chain: steps.collect(),
        }
    }

    /// What the kind says about a redirect, if it still leads to the same option.
    fn message(&self, step: &crate::model::RedirectStep) -> Option<Message<'a>> {
        let redirect = self.find(&step.source)?.redirect?;
        let message = redirect.message.as_ref().filter(|_| redirect.to == step.target)?;
        Some(message.into())
    }

    fn find(&self, id: &str) -> Option<&OptionView<'a>> {
        self.values.iter().find(|value| value.id == id)
    }

    fn info(&self, id: &'a str) -> OptionInfo<'a> {
        match self.find(id) {
            Some(OptionView { spawner, .. }) => OptionInfo {
                id,
                display_name: &spawner.display_name,
                description: spawner.description.as_deref().unwrap_or_default(),
                labels: &spawner.labels,
            },
            None => OptionInfo {
                id,
                display_name: self.unknown,
                description: self.unknown,
                labels: &[],
            },
        }
    }
}
