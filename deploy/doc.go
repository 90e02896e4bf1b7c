// Package deploy has no code: beside it lies what it takes to run refundd, and its
// tests hold those files to the service and to each other. README.md tells an
// operator what each is for, runbook.md what to do when an alert fires.
package deploy
