package report

import (
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes the result in the published format.
func (r *Result) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// ReadJSON reads a result. It refuses what a newer version has written.
func ReadJSON(from io.Reader) (*Result, error) {
	r := new(Result)
	if err := json.NewDecoder(from).Decode(r); err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	if r.Schema < 1 || r.Schema > SchemaVersion {
		return nil, fmt.Errorf("result: schema %d is not one that this version knows, 1 to %d",
			r.Schema, SchemaVersion)
	}
	return r, nil
}
