//! Tests of the library and of the host tool from outside. They are one program, because with each further
//! one the whole library would be linked again.

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
