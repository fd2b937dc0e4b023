package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of headers, in bytes: that of the specification for the text form, and what leaves room
// for a certificate chain's names among the extensions of the binary one.
const (
	textBytesMax   = 107
	binaryBytesMax = 16 + 2048
)

// Errors of ParseHeader.
var (
	// ErrShort is returned as long as the header is not complete.
	ErrShort = errors.New("proxy: the PROXY header is not complete")
	// ErrHeader is returned for what is no PROXY header.
	ErrHeader = errors.New("proxy: no valid PROXY header")
)

var (
	textPrefix      = []byte("PROXY ")
	binarySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// ParseHeader reads a header of the PROXY protocol, version 1 or 2, at the beginning of data, and
// returns how long it is. client is who has connected to the proxy; it is not valid if the proxy
// speaks for itself (LOCAL) or does not know (UNKNOWN, UNSPEC, UNIX). An incomplete header is
// ErrShort; with what cannot become one, at whatever length, it is ErrHeader.
func ParseHeader(data []byte) (client netip.AddrPort, n int, err error) {
	switch {
	case begins(data, binarySignature):
		return parseBinary(data)
	case begins(data, textPrefix):
		return parseText(data)
	}
	return client, 0, ErrHeader
}

// begins reports whether data begins like want, as far as there is any.
func begins(data, want []byte) bool {
	n := min(len(data), len(want))
	return bytes.Equal(data[:n], want[:n])
}

// parseText reads version 1.
func parseText(data []byte) (client netip.AddrPort, n int, err error) {
	end := bytes.Index(data[:min(len(data), textBytesMax)], []byte("\r\n"))
	if end < 0 {
		if len(data) >= textBytesMax {
			return client, 0, ErrHeader
		}
		return client, 0, ErrShort
	}
	n = end + 2
	fields := strings.Split(string(data[:end]), " ")
	if len(fields) >= 2 && fields[1] == "UNKNOWN" {
		return client, n, nil
	}
	if len(fields) != 6 || fields[1] != "TCP4" && fields[1] != "TCP6" {
		return client, 0, ErrHeader
	}
	source, ok := parseAddress(fields[2], fields[1] == "TCP4")
	_, fine := parseAddress(fields[3], fields[1] == "TCP4")
	port, known := parsePort(fields[4])
	_, right := parsePort(fields[5])
	if !ok || !fine || !known || !right {
		return client, 0, ErrHeader
	}
	return netip.AddrPortFrom(source.Unmap(), port), n, nil
}

func parseAddress(text string, is4 bool) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	return addr, err == nil && addr.Zone() == "" && addr.Is4() == is4
}

func parsePort(text string) (uint16, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && (text == "0" || text[0] != '0' && text[0] != '+')
}

// Commands and families of version 2.
const (
	commandLocal = 0x20
	commandProxy = 0x21
	familyIPv4   = 0x1
	familyIPv6   = 0x2
	familyUnix   = 0x3
)

// parseBinary reads version 2.
func parseBinary(data []byte) (client netip.AddrPort, n int, err error) {
	const head = 16
	if len(data) < head {
		return client, 0, ErrShort
	}
	n = head + int(binary.BigEndian.Uint16(data[14:]))
	command, family := data[12], data[13]>>4
	stream := data[13]&0xF == 1
	switch {
	case n > binaryBytesMax, command != commandLocal && command != commandProxy:
		return client, 0, ErrHeader
	case len(data) < n:
		return client, 0, ErrShort
	}
	body, addresses := data[head:n], 0
	switch {
	case command == commandLocal: // of which everything is ignored, also addresses
		return client, n, nil
	case data[13] == 0:
		return client, n, checkSum(data[:n], len(body))
	case family == familyIPv4 && stream && len(body) >= 12:
		addr, _ := netip.AddrFromSlice(body[:4])
		client = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(body[8:]))
		addresses = 12
	case family == familyIPv6 && stream && len(body) >= 36:
		addr, _ := netip.AddrFromSlice(body[:16])
		client = netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(body[32:]))
		addresses = 36
	case family == familyUnix && stream && len(body) >= 216:
		addresses = 216
	default:
		return client, 0, ErrHeader
	}
	if err := checkSum(data[:n], len(body)-addresses); err != nil {
		return netip.AddrPort{}, 0, err
	}
	return client, n, nil
}

// typeCRC32C is the extension with a checksum of the header, computed with zeros in its place.
const typeCRC32C = 0x03

// checkSum walks over the extensions, the last bytes of a header, and checks the checksum if there
// is one.
func checkSum(header []byte, extensions int) error {
	for at := len(header) - extensions; at < len(header); {
		if len(header)-at < 3 {
			return ErrHeader
		}
		n := int(binary.BigEndian.Uint16(header[at+1:]))
		value := at + 3
		if value+n > len(header) {
			return ErrHeader
		}
		if header[at] == typeCRC32C {
			if n != 4 {
				return ErrHeader
			}
			table := crc32.MakeTable(crc32.Castagnoli)
			sum := crc32.Update(0, table, header[:value])
			sum = crc32.Update(sum, table, make([]byte, 4))
			sum = crc32.Update(sum, table, header[value+4:])
			if sum != binary.BigEndian.Uint32(header[value:]) {
				return ErrHeader
			}
		}
		at = value + n
	}
	return nil
}
