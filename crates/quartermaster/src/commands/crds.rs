//! `quartermaster crds`: the custom resource definitions, ready for `kubectl apply`.

use crate::{failure::Failure, output};

pub(crate) fn run() -> Result<(), Failure> {
    for crd in workspaces::crds().chain(hooks::crds()) {
        let yaml = serde_saphyr::to_string(&crd)
            .map_err(|error| Failure::new(format!("cannot print a definition: {error}")))?;
        output::data(&format!("---\n{yaml}"));
    }
    Ok(())
}
