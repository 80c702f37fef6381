import type { Case } from './dockerfile-case.ts'

/** Directives, lines, here-documents, variables and stages. */
export const SYNTAX_CASES: Case[] = [
  {
    name: 'directives: another escape character leaves backslashes alone',
    dockerfile: '# escape=`\nFROM scratch\nCOPY a `\n  /d\\e\n',
    make: 'echo x > a',
    files: { 'd\\e': 'f 644 0:0 x\n' },
    peer: 'docker',
  },
  {
    name: 'directives: syntax is read and changes nothing',
    dockerfile: '# syntax=docker/dockerfile:1\nFROM scratch\nLABEL a=b\n',
    config: { Labels: { a: 'b' } },
    peer: 'buildah',
  },
  {
    name: 'lines: comments and empty lines inside an instruction',
    dockerfile: 'FROM busybox\nRUN echo one > /a && \\\n# why\n  # indented\n\n  echo two >> /a\n',
    files: { a: 'f 644 0:0 one\ntwo\n' },
    peer: 'docker',
  },
  {
    name: 'lines: carriage returns are no text',
    dockerfile: 'FROM busybox\r\nRUN echo a \\\r\n  b > /a\r\n',
    files: { a: 'f 644 0:0 a b\n' },
    peer: 'docker',
  },
  {
    name: 'here-document: a script for the shell',
    dockerfile: 'FROM busybox\nENV V=env\nRUN <<EOF\nx=$V\necho "$x" > /a\nif true; then\n\techo b >> /a\nfi\nEOF\n',
    files: { a: 'f 644 0:0 env\nb\n' },
    peer: 'none: no here-documents in theirs',
  },
  {
    name: 'here-document: <<- takes tabs away, quotes keep variables for later',
    dockerfile: 'FROM busybox\nRUN <<-"EOF"\n\tcat > /a <<X\n\t$HOME\n\tX\n\tEOF\n',
    files: { a: 'f 644 0:0 /root\n' },
    peer: 'none: no here-documents in theirs',
  },
  {
    name: 'here-document: with another program in its first line',
    dockerfile: 'FROM busybox\nRUN <<EOF\n#!/bin/awk -f\nBEGIN { print "awk" > "/a" }\nEOF\n',
    files: { a: 'f 644 0:0 awk\n', 'dev/pipes': '-' },
    peer: 'none: no here-documents in theirs',
  },
  {
    name: 'here-document: several for one command',
    dockerfile: 'FROM busybox\nRUN cat <<A > /a && cat <<B > /b\none\nA\ntwo\nB\n',
    files: { a: 'f 644 0:0 one\n', b: 'f 644 0:0 two\n' },
    peer: 'none: no here-documents in theirs',
  },
  {
    name: 'here-document: COPY makes files, with variables unless quoted',
    dockerfile: 'FROM scratch\nARG V=v\nCOPY <<a.txt <<"b.txt" /d/\nV is "$V" ${V:+set}\na.txt\nV is $V\nb.txt\n',
    files: { 'd/a.txt': 'f 644 0:0 V is "v" set\n', 'd/b.txt': 'f 644 0:0 V is $V\n' },
    peer: 'none: no here-documents in theirs',
  },
  {
    name: 'here-document: COPY to a name, with mode and owner',
    dockerfile: 'FROM scratch\nCOPY --chmod=755 --chown=5:6 <<EOF /bin/run\n#!/bin/sh\nEOF\n',
    files: { 'bin/run': 'f 755 5:6 #!/bin/sh\n' },
    peer: 'none: no here-documents in theirs',
  },
  {
    name: 'variables: defaults, alternatives and patterns',
    dockerfile:
      'FROM scratch\nENV F=x.tar.gz E=\nLABEL a=${N:-d} b=${E:-d} c=${E-d} d=${F:+y} e=${F#*.} f=${F##*.} g=${F%.*} h=${F%%.*} i=${F/./-} j=${F//./-}\n',
    config: {
      Labels: { a: 'd', b: 'd', c: '', d: 'y', e: 'tar.gz', f: 'gz', g: 'x.tar', h: 'x', i: 'x-tar.gz', j: 'x-tar-gz' },
    },
    peer: 'none: no such form of variables in theirs',
  },
  {
    name: 'variables: all values of an instruction see what was before it',
    dockerfile: 'FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n',
    config: { Env: [expectPath(), 'abc=bye', 'def=hello', 'ghi=bye'] },
    peer: 'docker',
  },
  {
    name: 'variables: escaped ones stay',
    dockerfile: 'FROM scratch\nLABEL a=\\$x b=\'$x\' c="\\$x"\n',
    config: { Labels: { a: '$x', b: '$x', c: '$x' } },
    peer: 'docker',
  },
  {
    name: 'ARG: before FROM it is for FROM, and for stages that ask',
    dockerfile: 'ARG B=busybox\nARG V=1\nFROM ${B}\nARG V\nRUN echo "$V-$B" > /a\n',
    files: { a: 'f 644 0:0 1-\n' },
    peer: 'docker',
  },
  {
    name: 'ARG: values of the request win, and ENV wins over both',
    dockerfile: 'FROM busybox\nARG A=1\nARG B=1\nENV B=env\nRUN echo $A $B > /a\n',
    request: { args: { A: 'given', B: 'given' } },
    files: { a: 'f 644 0:0 given env\n' },
    peer: 'docker',
  },
  {
    name: 'ARG: is known in stages that build on its own, and in no others',
    dockerfile:
      'FROM busybox AS one\nARG A=1\nENV E=e\nRUN true\nFROM one\nRUN echo "a$A e$E" > /a\nFROM busybox\nCOPY --from=1 /a /a\nRUN echo "a$A e$E" >> /a\n',
    files: { a: 'f 644 0:0 a1 ee\na e\n' },
    peer: 'docker',
  },
  {
    name: 'ARG: of the platform when asked for',
    dockerfile:
      'FROM --platform=$BUILDPLATFORM busybox\nARG TARGETOS\nARG TARGETSTAGE\nRUN echo "$TARGETOS $TARGETSTAGE [$TARGETARCH]" > /a\n',
    files: { a: 'f 644 0:0 linux default []\n' },
    peer: 'none: theirs lack it, or do it in another way',
  },
  {
    name: 'ARG: proxies are known to RUN and stay out of the image',
    dockerfile: 'FROM busybox\nRUN echo "$http_proxy" > /a\n',
    request: { args: { http_proxy: 'http://p' } },
    files: { a: 'f 644 0:0 http://p\n' },
    peer: 'docker',
  },
  {
    name: 'stages: by name, by number, and those that nobody needs are left out',
    dockerfile:
      'FROM busybox AS One\nRUN echo 1 > /x\nFROM busybox\nRUN false\nFROM busybox AS three\nRUN echo 3 > /x\nFROM scratch\nCOPY --from=one /x /a\nCOPY --from=2 /x /b\n',
    files: { a: 'f 644 0:0 1\n', b: 'f 644 0:0 3\n' },
    log: ['!RUN false'],
    peer: 'docker',
  },
  {
    name: 'stages: a target in the middle',
    dockerfile: 'FROM scratch AS a\nLABEL l=a\nFROM scratch AS b\nLABEL l=b\n',
    request: { target: 'A' },
    config: { Labels: { l: 'a' } },
    peer: 'docker',
  },
  {
    name: 'stages: COPY --from a later stage, and from a name in a variable',
    dockerfile:
      'FROM scratch\nARG S=src\nCOPY --from=src2 /x /a\nFROM busybox AS src\nRUN echo s > /x\nFROM busybox AS src2\nRUN echo t > /x\nFROM scratch\nARG S=src\nCOPY --from=$S /x /b\nCOPY --from=0 /a /a\n',
    files: { a: 'f 644 0:0 t\n', b: 'f 644 0:0 s\n' },
    peer: 'none: theirs lack it, or do it in another way',
  },
  {
    name: 'stages: COPY --from an image',
    dockerfile: 'FROM scratch\nCOPY --from=busybox:latest /etc/passwd /p\nCOPY --from=busybox bin/busybox /b\n',
    files: { b: 'any' },
    peer: 'docker',
  },
]

/** What an image without a base has. */
function expectPath(): string {
  return 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
}
