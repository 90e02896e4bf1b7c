// Package deploy has no code: beside it lies what it takes to run refundd, and its
// tests hold those files to the service and to each other. README.md says for
// an operator what each is, runbook.md what to do when an alert fires.
package deploy
