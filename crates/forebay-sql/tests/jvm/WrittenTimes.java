// What Joda-Time makes of the questions on standard input, one per line, fields separated by tabs: write PATTERN
// MILLISECONDS ZONE. The question and `=TEXT`, or `!` where there is none.
// java -cp joda-time.jar -Dfile.encoding=UTF-8 WrittenTimes.java < questions
import java.io.*;
import java.util.Locale;
import org.joda.time.DateTimeZone;
import org.joda.time.format.DateTimeFormat;

public class WrittenTimes {
    static String answer(String[] question) {
        try {
            DateTimeZone zone = DateTimeZone.forID(question[3]);
            long instant = Long.parseLong(question[2]);
            return "=" + DateTimeFormat.forPattern(question[1]).withLocale(Locale.ENGLISH).withZone(zone).print(instant);
        } catch (RuntimeException e) {
            return "!";
        }
    }

    public static void main(String[] arguments) throws IOException {
        BufferedReader questions = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        PrintStream answers = new PrintStream(System.out, false, "UTF-8");
        for (String line; (line = questions.readLine()) != null; )
            answers.println(line + "\t" + answer(line.split("\t")));
        answers.flush();
    }
}
