// Calls of Go's net/http: see tests/clients/routes.py.
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"time"
)

var client = &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}

func main() {
	chat := os.Getenv("CHAT")
	for number := range 3 {
		body := fmt.Sprintf(`{"messages":[{"role":"user","content":"Call %d"}]}`, number)
		send(request(chat, strings.NewReader(body)))
	}
	send(request(chat, strings.NewReader(`{"messages":[{"role":"user","content":"What is latency?"}],"stream":true}`)))
	send(withTrailers(chat))
	send(expecting(chat))
	send(upload())
}

func request(path string, body io.Reader) *http.Request {
	made, err := http.NewRequest("POST", os.Getenv("URL")+path, body)
	must(err)
	made.Header.Set("api-key", os.Getenv("KEY"))
	made.Header.Set("traceparent", os.Getenv("TRACEPARENT"))
	made.Header.Set("content-type", "application/json")
	return made
}

// withTrailers sends a body in chunks, and behind it fields that would change the call if they were headers.
func withTrailers(path string) *http.Request {
	text := `{"messages":[{"role":"user","content":"` + strings.Repeat("word ", 50_000) + `"}]}`
	made := request(path, io.MultiReader(strings.NewReader(text))) // a reader whose length net/http does not know
	made.Trailer = http.Header{
		"Api-Key":        {"wrong"},
		"Traceparent":    {"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"},
		"X-Apim-User-Id": {"someone else"},
		"X-Late":         {"behind the body"},
	}
	return made
}

// expecting waits up to a minute for 100 Continue before it sends its body.
func expecting(path string) *http.Request {
	text := `{"messages":[{"role":"user","content":"` + strings.Repeat("word ", 200_000) + `"}]}`
	made := request(path, strings.NewReader(text))
	made.Header.Set("Expect", "100-continue")
	return made
}

// upload sends a form of 4 MB while it is written.
func upload() *http.Request {
	reader, writer := io.Pipe()
	go func() {
		io.WriteString(writer, "--limit\r\ncontent-disposition: form-data; name=\"file\"; filename=\"sound.mp3\"\r\n\r\n")
		for range 64 {
			writer.Write(bytes.Repeat([]byte("sound..."), 8192))
		}
		io.WriteString(writer, "\r\n--limit--\r\n")
		writer.Close()
	}()
	made := request(os.Getenv("UPLOAD"), reader)
	made.Header.Set("content-type", "multipart/form-data; boundary=limit")
	return made
}

func send(made *http.Request) {
	note := "new"
	traced := httptrace.WithClientTrace(made.Context(), &httptrace.ClientTrace{
		GotConn: func(connection httptrace.GotConnInfo) {
			if connection.Reused {
				note = "reused"
			}
		},
		Got100Continue: func() { note += " continued" },
	})
	response, err := client.Do(made.WithContext(traced))
	must(err)
	defer response.Body.Close()
	var body bytes.Buffer
	for part := make([]byte, 512); ; { // a stream is read as it comes
		read, err := response.Body.Read(part)
		body.Write(part[:read])
		if err == io.EOF {
			break
		}
		must(err)
	}
	encoded := base64.StdEncoding.EncodeToString(body.Bytes())
	fmt.Printf("%d\t%s\t%s\t%s\n", response.StatusCode, response.Header.Get("content-type"), note, encoded)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
