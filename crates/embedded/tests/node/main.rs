//! Scenarios of the node: real processes under the real API, through `kube::Client` only.

mod kit;
mod pods;
mod sets;
