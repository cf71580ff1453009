//go:build tools

// Package tools names the Go programs that tests run, so that go.mod and go.sum pin them whole.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
