//! The compact form of a schema, made once from the JSON of a CustomResourceDefinition.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;
use serde_json::Value;

use super::{cel::Rules, formats::Format, pattern};

/// One level of a schema.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) kind: Option<Kind>,
    pub(crate) nullable: bool,
    pub(crate) preserve: bool,
    pub(crate) embedded: bool,
    pub(crate) format: Option<Format>,
    pub(crate) list: ListType,
    pub(crate) default: Option<Box<Value>>,
    pub(crate) items: Option<Box<Node>>,
    pub(crate) properties: BTreeMap<String, Node>,
    pub(crate) additional: Additional,
    pub(crate) required: Vec<String>,
    pub(crate) limits: Option<Box<Limits>>,
    pub(crate) logic: Option<Box<Logic>>,
    pub(crate) rules: Option<Box<Rules>>,
    /// Whether there are rules here or below.
    pub(crate) has_rules: bool,
}

/// What `type` says, or `x-kubernetes-int-or-string`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
    IntOrString,
}

impl Kind {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
            Self::IntOrString => "integer,string",
        }
    }
}

/// What `additionalProperties` says.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    #[default]
    Unset,
    Any,
    None,
    Schema(Box<Node>),
}

/// What `x-kubernetes-list-type` says; sets are told apart from maps by their missing keys.
#[derive(Debug, Default)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// Rules about a single value.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) enumeration: Vec<Value>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) max_length: Option<i64>,
    pub(crate) min_length: Option<i64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_items: Option<i64>,
    pub(crate) min_items: Option<i64>,
    pub(crate) max_properties: Option<i64>,
    pub(crate) min_properties: Option<i64>,
}

/// A pattern as written, and as compiled; none if it does not compile.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    pub(crate) regex: Option<Arc<Regex>>,
}

/// The logical junctors.
#[derive(Debug, Default)]
pub(crate) struct Logic {
    pub(crate) all_of: Vec<Node>,
    pub(crate) any_of: Vec<Node>,
    pub(crate) one_of: Vec<Node>,
    pub(crate) not: Option<Node>,
}

impl Node {
    /// The schema that applies to the field `key` of an object.
    pub(crate) fn child(&self, key: &str) -> Option<&Node> {
        self.properties.get(key).or(match &self.additional {
            Additional::Schema(node) => Some(node),
            _ => None,
        })
    }
}

/// Makes nodes; patterns that repeat are compiled once.
#[derive(Default)]
pub(crate) struct Builder {
    patterns: HashMap<String, Option<Arc<Regex>>>,
}

impl Builder {
    pub(crate) fn node(&mut self, props: &JSONSchemaProps) -> Node {
        let int_or_string = props.x_kubernetes_int_or_string == Some(true);
        Node {
            kind: match int_or_string {
                true => Some(Kind::IntOrString),
                false => props.type_.as_deref().and_then(Kind::parse),
            },
            nullable: props.nullable == Some(true),
            preserve: props.x_kubernetes_preserve_unknown_fields == Some(true),
            embedded: props.x_kubernetes_embedded_resource == Some(true),
            format: props.format.as_deref().and_then(Format::parse),
            list: list_type(props),
            default: props
                .default
                .as_ref()
                .filter(|json| !json.0.is_null())
                .map(|json| Box::new(json.0.clone())),
            items: match &props.items {
                Some(JSONSchemaPropsOrArray::Schema(items)) => Some(Box::new(self.node(items))),
                _ => None,
            },
            properties: props
                .properties
                .iter()
                .flatten()
                .map(|(name, node)| (name.clone(), self.node(node)))
                .collect(),
            additional: match &props.additional_properties {
                None => Additional::Unset,
                Some(JSONSchemaPropsOrBool::Bool(true)) => Additional::Any,
                Some(JSONSchemaPropsOrBool::Bool(false)) => Additional::None,
                Some(JSONSchemaPropsOrBool::Schema(node)) => {
                    Additional::Schema(Box::new(self.node(node)))
                }
            },
            required: props.required.clone().unwrap_or_default(),
            limits: self.limits(props),
            logic: self.logic(props),
            rules: None,
            has_rules: false,
        }
    }

    fn limits(&mut self, props: &JSONSchemaProps) -> Option<Box<Limits>> {
        let pattern = props.pattern.as_deref().filter(|text| !text.is_empty());
        let limits = Limits {
            enumeration: props.enum_.iter().flatten().map(|json| json.0.clone()).collect(),
            pattern: pattern.map(|text| Pattern { text: text.to_owned(), regex: self.regex(text) }),
            max_length: props.max_length,
            min_length: props.min_length,
            maximum: props.maximum,
            exclusive_maximum: props.exclusive_maximum == Some(true),
            minimum: props.minimum,
            exclusive_minimum: props.exclusive_minimum == Some(true),
            multiple_of: props.multiple_of,
            max_items: props.max_items,
            min_items: props.min_items,
            max_properties: props.max_properties,
            min_properties: props.min_properties,
        };
        (!limits.is_empty()).then(|| Box::new(limits))
    }

    fn logic(&mut self, props: &JSONSchemaProps) -> Option<Box<Logic>> {
        let logic = Logic {
            all_of: props.all_of.iter().flatten().map(|node| self.node(node)).collect(),
            any_of: props.any_of.iter().flatten().map(|node| self.node(node)).collect(),
            one_of: props.one_of.iter().flatten().map(|node| self.node(node)).collect(),
            not: props.not.as_deref().map(|node| self.node(node)),
        };
        let empty = logic.all_of.is_empty()
            && logic.any_of.is_empty()
            && logic.one_of.is_empty()
            && logic.not.is_none();
        (!empty).then(|| Box::new(logic))
    }

    fn regex(&mut self, text: &str) -> Option<Arc<Regex>> {
        if let Some(known) = self.patterns.get(text) {
            return known.clone();
        }
        let regex = pattern::compile(text).ok().map(Arc::new);
        self.patterns.insert(text.to_owned(), regex.clone());
        regex
    }
}

impl Limits {
    fn is_empty(&self) -> bool {
        let sizes = [
            self.max_length,
            self.min_length,
            self.max_items,
            self.min_items,
            self.max_properties,
            self.min_properties,
        ];
        self.enumeration.is_empty()
            && self.pattern.is_none()
            && sizes.iter().all(Option::is_none)
            && [self.maximum, self.minimum, self.multiple_of].iter().all(Option::is_none)
    }
}

fn list_type(props: &JSONSchemaProps) -> ListType {
    match props.x_kubernetes_list_type.as_deref() {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(props.x_kubernetes_list_map_keys.clone().unwrap_or_default()),
        _ => ListType::Atomic,
    }
}
