// Package wire speaks RFC 6455: bytes in, messages out, and messages to frames. It is pure: it
// knows no sockets, no clocks and no other goroutine. Everything in it is bounded, and every bound
// is checked against what a header declares before a byte is allocated for it.
package wire

import (
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Opcode is the type of a frame, RFC 6455 section 5.2.
type Opcode uint8

// The opcodes.
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

func (op Opcode) isControl() bool { return op&0x8 != 0 }

// Bounds of the protocol, in bytes.
const (
	// ControlPayloadMax bounds the payload of a control frame.
	ControlPayloadMax = 125
	// CloseReasonMax bounds the reason of a Close frame.
	CloseReasonMax = ControlPayloadMax - 2
	// ServerHeaderMax and ClientHeaderMax bound the header of a frame without and with a mask.
	ServerHeaderMax = 10
	ClientHeaderMax = 14
)

// Close codes, RFC 6455 section 7.4.1 and the IANA registry.
const (
	CloseNormal        uint16 = 1000
	CloseGoingAway     uint16 = 1001
	CloseProtocolError uint16 = 1002
	CloseUnsupported   uint16 = 1003
	CloseNoStatus      uint16 = 1005 // never on the wire: the peer gave no code
	CloseInvalidData   uint16 = 1007
	ClosePolicy        uint16 = 1008
	CloseTooBig        uint16 = 1009
	CloseInternal      uint16 = 1011
	CloseRestart       uint16 = 1012
)

// validCloseCode reports whether a peer may send a code: those of the registry that are meant for
// the wire, and the ranges for libraries and applications.
func validCloseCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}

// AppendHeader appends the header of an unmasked frame with a payload of length bytes.
func AppendHeader(dst []byte, op Opcode, fin, rsv1 bool, length int) []byte {
	first := byte(op)
	if fin {
		first |= 0x80
	}
	if rsv1 {
		first |= 0x40
	}
	return appendLength(append(dst, first), 0, length)
}

// appendLength appends the minimal encoding of a payload length; mask is the MASK bit or 0.
func appendLength(dst []byte, mask byte, n int) []byte {
	switch {
	case n <= 125:
		return append(dst, mask|byte(n))
	case n <= 0xFFFF:
		return append(dst, mask|126, byte(n>>8), byte(n))
	default:
		u := uint64(n)
		return append(dst, mask|127, byte(u>>56), byte(u>>48), byte(u>>40), byte(u>>32),
			byte(u>>24), byte(u>>16), byte(u>>8), byte(u))
	}
}

// AppendFrame appends a whole unmasked frame.
func AppendFrame(dst []byte, op Opcode, rsv1 bool, payload []byte) []byte {
	return append(AppendHeader(dst, op, true, rsv1, len(payload)), payload...)
}

// AppendMaskedFrame appends a whole frame as a client sends it. The mask must be random, RFC 6455
// section 10.3. payload is not changed.
func AppendMaskedFrame(dst []byte, op Opcode, rsv1 bool, mask [4]byte, payload []byte) []byte {
	first := byte(op) | 0x80
	if rsv1 {
		first |= 0x40
	}
	dst = appendLength(append(dst, first), 0x80, len(payload))
	dst = append(append(dst, mask[:]...), payload...)
	ws.Cipher(dst[len(dst)-len(payload):], mask, 0)
	return dst
}

// AppendClose appends a Close frame. The reason is cut to CloseReasonMax bytes, between two
// characters. CloseNoStatus makes an empty one.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if code == CloseNoStatus {
		return AppendHeader(dst, OpClose, true, false, 0)
	}
	if len(reason) > CloseReasonMax {
		n := CloseReasonMax
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	dst = AppendHeader(dst, OpClose, true, false, 2+len(reason))
	return append(append(dst, byte(code>>8), byte(code)), reason...)
}
