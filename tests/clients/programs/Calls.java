// Chat, a stream and uploads with the JDK's own client, which offers h2c on every call: see tests/clients/routes.py.
import java.io.InputStream;
import java.io.SequenceInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.io.ByteArrayInputStream;
import java.util.Base64;
import java.util.Collections;
import java.util.List;

public class Calls {
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    public static void main(String[] arguments) throws Exception {
        String chat = System.getenv("CHAT");
        send(json(chat, "{\"messages\":[{\"role\":\"user\",\"content\":\"What is a trace? ✨\"}]}"));
        send(json(chat, "{\"messages\":[{\"role\":\"user\",\"content\":\"What is latency?\"}],\"stream\":true}"));
        send(json(chat, "{\"messages\":[{\"role\":\"user\",\"content\":\"Twice\"}]}").expectContinue(true));
        send(upload());
        send(json(chat, "{\"messages\":[{\"role\":\"user\",\"content\":\"After the form\"}]}"));
    }

    static HttpRequest.Builder to(String path) {
        return HttpRequest.newBuilder(URI.create(System.getenv("URL") + path))
            .header("api-key", System.getenv("KEY"))
            .header("traceparent", System.getenv("TRACEPARENT"));
    }

    static HttpRequest.Builder json(String path, String body) {
        return to(path).header("content-type", "application/json").POST(BodyPublishers.ofString(body));
    }

    /** A form of 4 MB whose length the client does not know, so that it sends chunks. */
    static HttpRequest.Builder upload() {
        String head = "--limit\r\ncontent-disposition: form-data; name=\"file\"; filename=\"sound.mp3\"\r\n"
            + "content-type: audio/mpeg\r\n\r\n";
        byte[] sound = new byte[4 << 20];
        for (int at = 0; at < sound.length; at++) sound[at] = (byte) (at % 251);
        List<InputStream> parts = List.of(
            new ByteArrayInputStream(head.getBytes()),
            new ByteArrayInputStream(sound),
            new ByteArrayInputStream("\r\n--limit--\r\n".getBytes()));
        return to(System.getenv("UPLOAD"))
            .header("content-type", "multipart/form-data; boundary=limit")
            .POST(BodyPublishers.ofInputStream(() -> new SequenceInputStream(Collections.enumeration(parts))));
    }

    static void send(HttpRequest.Builder request) throws Exception {
        HttpResponse<InputStream> response = CLIENT.send(request.build(), BodyHandlers.ofInputStream());
        byte[] body = response.body().readAllBytes();
        String type = response.headers().firstValue("content-type").orElse("");
        String encoded = Base64.getEncoder().encodeToString(body);
        System.out.println(response.statusCode() + "\t" + type + "\t" + response.version() + "\t" + encoded);
    }
}
