//! The words of the capability: what came in, who may have sent it, what it means, what is answered.

mod answer;
mod event;
mod hook;
mod inbound;
mod keys;
mod span;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Class, Refusal};
pub use event::{Event, EventKind, Image, ImageName, Notice, Object, Repo};
pub use hook::*;
pub use inbound::{Header, Inbound};
pub use keys::{Key, Keys};
pub use span::Span;
