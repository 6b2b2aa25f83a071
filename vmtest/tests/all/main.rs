//! The tests that start the host tool or boot kernels. They are one program, because each more would be
//! linked with everything that the library needs.

mod action;
mod anywhere;
mod broken;
mod builds;
mod checkout;
mod ci_page;
mod commands;
mod faults;
mod first_command;
mod foreign;
mod hostile;
mod kernels;
mod killed;
mod lab;
mod links;
mod own_tracer;
mod reports;
mod runner;
mod schema;
mod shell;
mod site;
mod suites;
