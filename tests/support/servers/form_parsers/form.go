// Reads forms by Go's mime/multipart, as GoToSocial does: a line of JSON for each, and one in answer.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
)

type asked struct {
	Type []byte `json:"type"`
	Body []byte `json:"body"`
}

type said struct {
	Files   []string `json:"files"`
	Refused string   `json:"refused,omitempty"`
}

func read(form asked) said {
	found := said{Files: []string{}}
	request, err := http.NewRequest("POST", "/", bytes.NewReader(form.Body))
	if err != nil {
		return said{[]string{}, err.Error()}
	}
	request.Header["Content-Type"] = []string{string(form.Type)}
	if err := request.ParseMultipartForm(256 << 20); err != nil {
		return said{[]string{}, err.Error()}
	}
	for _, files := range request.MultipartForm.File {
		for _, file := range files {
			opened, err := file.Open()
			if err != nil {
				return said{found.Files, err.Error()}
			}
			hash := sha256.New()
			io.Copy(hash, opened)
			opened.Close()
			found.Files = append(found.Files, hex.EncodeToString(hash.Sum(nil)))
		}
	}
	return found
}

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var form asked
		if err := json.Unmarshal(line, &form); err != nil {
			panic(err)
		}
		answer, _ := json.Marshal(read(form))
		os.Stdout.Write(append(answer, '\n'))
	}
}
