//! See [`hearth_worker`].

fn main() -> std::process::ExitCode {
    hearth_worker::cli::main()
}
