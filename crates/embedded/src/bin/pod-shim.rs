//! The pod shim on its own, for the tests of this crate. `quartermaster pod-shim` is the same.

fn main() -> std::process::ExitCode {
    embedded::node::shim::main()
}
