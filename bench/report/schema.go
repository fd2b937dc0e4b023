package report

import _ "embed"

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of what WriteJSON writes. It must not be changed.
func Schema() []byte { return schema }
