//! Which rule the names of a kind follow.

use super::kinds::NameRule;
use crate::schema::names::{label, label_1035, segment, subdomain};

impl NameRule {
    /// What is wrong with a name; of a prefix (`generateName`) only what no suffix can mend.
    pub(crate) fn problems(self, name: &str, prefix: bool) -> Vec<String> {
        // The API server, too, lets a suffix mend a dash at the end, and no more.
        let masked = match name.strip_suffix('-') {
            Some(rest) if prefix && name.len() > 1 => {
                let mut chars = rest.chars();
                chars.next_back();
                format!("{}a", chars.as_str())
            }
            _ => name.to_owned(),
        };
        match self {
            Self::Subdomain => subdomain(&masked),
            Self::Label => label(&masked),
            Self::Label1035 => label_1035(&masked),
            Self::Path => segment(name, prefix),
        }
    }
}
