//! The program `lake` with the cluster engine, as its tests run it.

fn main() -> std::process::ExitCode {
    lake::main()
}
