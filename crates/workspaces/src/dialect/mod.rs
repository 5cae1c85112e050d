//! Foreign wire contracts for workspaces: routes, bodies and quirks, no rules of acceptance.

pub mod kubeflow;
