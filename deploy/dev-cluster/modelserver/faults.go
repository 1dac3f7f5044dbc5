package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fault is what goes wrong with a response, as named in /fault/KIND[=N]/...
//
//	cut         a transfer that crosses the middle of the file breaks off there;
//	            one that starts at the middle or later goes through
//	drop=N      every transfer breaks off after N bytes
//	corrupt     the byte in the middle of the file is another one
//	magic       the first four bytes are other ones
//	truncate    the file has half its length
//	stall=N     every transfer goes silent after N bytes
//	slow=N      N KiB a second
//	norange     ranges are ignored: always the whole file
//	changing    no two answers carry the same validator
//	status=N    that status and nothing else
type fault struct {
	kind   string
	n      int64
	prefix string
}

type faultKey struct{}

func faultOf(r *http.Request) fault {
	f, _ := r.Context().Value(faultKey{}).(fault)
	return f
}

// faultPrefix is what a redirect needs to stay under the same fault.
func faultPrefix(r *http.Request) string { return faultOf(r).prefix }

func parseFault(name string) (fault, error) {
	kind, value, hasValue := strings.Cut(name, "=")
	f := fault{kind: kind, prefix: "/fault/" + name}
	switch kind {
	case "cut", "corrupt", "magic", "truncate", "norange", "changing":
		if !hasValue {
			return f, nil
		}
	case "drop", "stall", "slow", "status":
		n, err := strconv.ParseInt(value, 10, 64)
		if err == nil && n > 0 {
			f.n = n
			return f, nil
		}
	}
	return fault{}, fmt.Errorf("unknown fault %q", name)
}

func withFault(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := parseFault(r.PathValue("fault"))
		if err != nil {
			fail(w, http.StatusBadRequest, "UnknownFault", err.Error())
			return
		}
		if f.kind == "status" {
			fail(w, int(f.n), "Fault", "asked to fail")
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), faultKey{}, f))
		http.StripPrefix(f.prefix, next).ServeHTTP(w, r)
	})
}

// serveContent is http.ServeContent under the request's fault.
func serveContent(w http.ResponseWriter, r *http.Request, file io.ReadSeeker, size int64) {
	f := faultOf(r)
	switch f.kind {
	case "":
	case "norange":
		r.Header.Del("Range")
		w.Header().Set("Accept-Ranges", "none")
	case "changing":
		w.Header().Set("Etag", fmt.Sprintf(`"%x"`, time.Now().UnixNano()))
	case "truncate":
		w.Header().Set("Etag", `"truncated"`)
		file = io.NewSectionReader(file.(io.ReaderAt), 0, size/2)
	default:
		flush := http.NewResponseController(w).Flush
		file = &faulty{file: file, fault: f, middle: size / 2, gone: r.Context().Done(), flush: flush}
	}
	http.ServeContent(w, r, "", time.Time{}, file)
}

// faulty reads a file until the fault strikes. It tells how far one transfer has
// come by the bytes read since the last seek.
type faulty struct {
	file   io.ReadSeeker
	fault  fault
	middle int64
	gone   <-chan struct{}
	flush  func() error
	at     int64
	sent   int64
}

func (f *faulty) Seek(offset int64, whence int) (int64, error) {
	at, err := f.file.Seek(offset, whence)
	f.at, f.sent = at, 0
	return at, err
}

func (f *faulty) Read(p []byte) (int, error) {
	switch f.fault.kind {
	case "cut":
		if f.sent > 0 && f.at == f.middle {
			f.breakOff()
		}
		if f.at < f.middle {
			p = p[:min(int64(len(p)), f.middle-f.at)]
		}
	case "drop", "stall":
		if f.sent >= f.fault.n {
			if f.fault.kind == "stall" {
				f.flush() //nolint:errcheck // the client went away
				<-f.gone
			}
			f.breakOff()
		}
		p = p[:min(int64(len(p)), f.fault.n-f.sent)]
	case "slow":
		p = p[:min(int64(len(p)), max(f.fault.n*1024/20, 1))]
		select {
		case <-time.After(time.Duration(len(p)) * time.Second / time.Duration(f.fault.n*1024)):
		case <-f.gone:
			panic(http.ErrAbortHandler)
		}
	}
	n, err := f.file.Read(p)
	for i := range p[:n] {
		switch at := f.at + int64(i); {
		case f.fault.kind == "corrupt" && at == f.middle, f.fault.kind == "magic" && at < 4:
			p[i] ^= 0xff
		}
	}
	f.at += int64(n)
	f.sent += int64(n)
	return n, err
}

// breakOff ends the connection, or the HTTP/2 stream, after what was read so far.
func (f *faulty) breakOff() {
	f.flush() //nolint:errcheck // it ends either way
	panic(http.ErrAbortHandler)
}
