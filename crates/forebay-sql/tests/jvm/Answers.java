// Answers of the JVM to the questions on standard input, one per line, fields separated by tabs:
//
//   substr PATTERN TEXT | replace PATTERN TEXT REPLACEMENT | time PATTERN TEXT
//   hash ALGORITHM TEXT | encode base64 TEXT | decode base64 TEXT
//
// `=ANSWER`, or `!` where there is none. Tabs, line ends and backslashes in fields are escaped with a backslash.
// java -Dfile.encoding=UTF-8 Answers.java < questions > answers
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.time.*;
import java.time.format.*;
import java.time.temporal.*;
import java.util.*;
import java.util.regex.*;

public class Answers {
    static String esc(String s) {
        StringBuilder b = new StringBuilder();
        for (char c : s.toCharArray()) {
            if (c == '\\') b.append("\\\\");
            else if (c == '\t') b.append("\\t");
            else if (c == '\n') b.append("\\n");
            else if (c == '\r') b.append("\\r");
            else b.append(c);
        }
        return b.toString();
    }
    static String un(String s) {
        StringBuilder b = new StringBuilder();
        for (int i = 0; i < s.length(); i++) {
            char c = s.charAt(i);
            if (c == '\\') {
                char d = s.charAt(++i);
                b.append(d == 't' ? '\t' : d == 'n' ? '\n' : d == 'r' ? '\r' : d);
            } else b.append(c);
        }
        return b.toString();
    }
    static String answer(String[] f) {
        try {
            switch (f[0]) {
                case "substr": {
                    Matcher m = Pattern.compile(f[1]).matcher(f[2]);
                    return m.find() ? "=" + m.group() : "!";
                }
                case "replace":
                    return "=" + Pattern.compile(f[1]).matcher(f[2]).replaceAll(f[3]);
                case "hash": {
                    StringBuilder hex = new StringBuilder("=");
                    byte[] digest = java.security.MessageDigest.getInstance(f[1]).digest(f[2].getBytes(StandardCharsets.UTF_8));
                    for (byte b : digest) hex.append(String.format("%02x", b));
                    return hex.toString();
                }
                case "encode":
                    return "=" + Base64.getEncoder().encodeToString(f[2].getBytes(StandardCharsets.UTF_8));
                case "decode": {
                    byte[] bytes = Base64.getDecoder().decode(f[2]);
                    return "=" + StandardCharsets.UTF_8.newDecoder().decode(java.nio.ByteBuffer.wrap(bytes));
                }
                case "time": {
                    DateTimeFormatter p = DateTimeFormatter.ofPattern(f[1], Locale.US);
                    TemporalAccessor t = p.parse(f[2]);
                    LocalDate d = LocalDate.from(t);
                    LocalTime c = t.query(TemporalQueries.localTime());
                    ZoneId z = t.query(TemporalQueries.zone());
                    if (c == null) {
                        for (ChronoField x : new ChronoField[]{ChronoField.HOUR_OF_AMPM, ChronoField.CLOCK_HOUR_OF_AMPM, ChronoField.MINUTE_OF_HOUR, ChronoField.SECOND_OF_MINUTE, ChronoField.NANO_OF_SECOND})
                            if (t.isSupported(x)) return "!";
                        c = LocalTime.MIDNIGHT;
                    }
                    LocalDateTime l = d.atTime(c);
                    Period x = t.query(DateTimeFormatter.parsedExcessDays());
                    l = l.plus(x);
                    ZonedDateTime q = l.atZone(z == null ? ZoneOffset.UTC : z);
                    return "=" + q.toInstant().toEpochMilli();
                }
            }
            return "!";
        } catch (Exception e) { return "!"; }
        catch (StackOverflowError e) { return "!"; }
    }
    public static void main(String[] a) throws Exception {
        BufferedReader r = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream o = new PrintStream(new BufferedOutputStream(System.out), false, "UTF-8");
        for (String line; (line = r.readLine()) != null; ) {
            String[] f = line.split("\t", -1);
            for (int i = 0; i < f.length; i++) f[i] = un(f[i]);
            o.println(esc(answer(f)));
        }
        o.flush();
    }
}
