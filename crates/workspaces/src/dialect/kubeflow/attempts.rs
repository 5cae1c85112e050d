//! Writes that others may come before.

use super::error::Problem;

/// How often an object is read again that changed before it could be written.
const MOST: u32 = 5;

/// Counts how often a caller's write was overtaken. The version that the cluster missed is ours and
/// not the caller's: a status, say, was written between our reading and our writing.
#[derive(Debug, Default)]
pub(crate) struct Attempts(u32);

impl Attempts {
    /// What a write brought; none if the object has to be read, judged and written once more.
    pub(crate) fn outcome<T>(
        &mut self,
        answer: Result<T, kube::Error>,
    ) -> Result<Option<T>, Problem> {
        self.0 += 1;
        match answer {
            Ok(written) => Ok(Some(written)),
            Err(error) if cluster::error::is_conflict(&error) && self.0 < MOST => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
