import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { APT_PACKAGES } from './apt-repository.ts'

/** One Dockerfile with its context, which all contenders build in each round. */
export interface Row {
  name: string
  /** How often at most: a row that takes long is measured less often. */
  rounds?: number
  make(folder: string): Promise<void>
  /** What is another thing in this round; nothing where the same is built again. */
  change?(folder: string): Promise<void>
}

/** The first thing that a Dockerfile copies: with another one nothing behind it is in anybody's cache. */
const stamp = (folder: string) => writeFile(join(folder, 'stamp'), randomBytes(16).toString('hex'))

/** Installing and compiling as they are with most languages: many small files, then processor time, then a small image. */
const APP = `FROM debian:12 AS build
WORKDIR /app
COPY stamp .
RUN mkdir deps && perl -e 'for my $d (1..40) { mkdir "deps/$d"; for my $f (1..50) { open my $h, ">", "deps/$d/$f.js"; print $h "exports.n = $d * $f;\\n" x 60 } }'
COPY src src
RUN cat src/*.js deps/*/*.js | gzip -9 > app.gz && sha256sum app.gz > app.sum

FROM debian:12
RUN useradd --system app
WORKDIR /app
COPY --from=build /app/deps deps
COPY --from=build /app/app.gz /app/app.sum ./
COPY public public
ENV MODE=production
USER app
EXPOSE 8080
CMD ["cat", "app.sum"]
`

async function makeApp(folder: string): Promise<void> {
  await writeFile(join(folder, 'Dockerfile'), APP)
  await stamp(folder)
  for (const [name, count] of [
    ['src', 300],
    ['public', 100],
  ] as const) {
    await mkdir(join(folder, name))
    for (let at = 0; at < count; at++) await writeFile(join(folder, name, `${at}.js`), text(8_000))
  }
}

const text = (length: number) =>
  Array.from({ length: length / 40 }, (_, at) => `const value${at} = ${at}\n`.padStart(40)).join('')

const STAGES = 10
/** Each waits as for a network and then counts; no two are the same step. */
const work = (at: number) => `sleep 1 && perl -e 'my $x = ${at}; $x += $_ for 1..5_000_000; print $x' > /out`

const PARALLEL = [
  ...Array.from({ length: STAGES }, (_, at) => `FROM debian:12 AS s${at}\nCOPY stamp /stamp\nRUN ${work(at)}\n`),
  'FROM debian:12\n',
  ...Array.from({ length: STAGES }, (_, at) => `COPY --from=s${at} /out /out/${at}\n`),
].join('')

/** Of the large context, in megabytes. */
const SIZE = Number(process.env.SIZE ?? 1000)
const MEGABYTE = 1e6

async function makeLarge(folder: string): Promise<void> {
  await writeFile(
    join(folder, 'Dockerfile'),
    'FROM debian:12\nCOPY assets /assets\nCOPY src /src\nRUN cat /src/* > /all\n',
  )
  for (const name of ['src', 'assets']) await mkdir(join(folder, name))
  for (let at = 0; at < 50; at++) await writeFile(join(folder, 'src', `${at}.js`), text(8_000))
  for (let at = 0; at < SIZE; at++) await writeFile(join(folder, 'assets', String(at)), asset())
}

/** Half of it cannot be made smaller, as in most assets. */
function asset(): Buffer {
  const half = MEGABYTE / 2
  return Buffer.concat([randomBytes(half), Buffer.from(text(half))])
}

const aptDockerfile = `FROM debian:12
ENV DEBIAN_FRONTEND=noninteractive
COPY stamp /stamp
COPY sources.list /etc/apt/sources.list
RUN apt-get update && apt-get install -y --no-install-recommends ${APT_PACKAGES} && rm -rf /var/lib/apt/lists/*
RUN gcc --version > /gcc
`

/** `aptUrl`: where all contenders' steps find the same packages. */
export function buildRows(aptUrl: string): Row[] {
  return [
    { name: 'cold build', make: makeApp, change: stamp },
    { name: 'no-change rebuild', make: makeApp },
    {
      name: 'one-file change',
      make: makeApp,
      change: folder => writeFile(join(folder, 'src/7.js'), randomBytes(4000).toString('hex')),
    },
    {
      name: 'ten parallel stages',
      rounds: 3,
      make: async folder => {
        await writeFile(join(folder, 'Dockerfile'), PARALLEL)
        await stamp(folder)
      },
      change: stamp,
    },
    {
      name: `${SIZE} MB, a source file changed`,
      rounds: 3,
      make: makeLarge,
      change: folder => writeFile(join(folder, 'src/7.js'), randomBytes(4000).toString('hex')),
    },
    {
      name: `${SIZE} MB, one of them changed`,
      rounds: 2,
      make: makeLarge,
      change: folder => writeFile(join(folder, 'assets/7'), asset()),
    },
    {
      name: 'apt-get-heavy',
      rounds: 2,
      make: async folder => {
        await writeFile(join(folder, 'Dockerfile'), aptDockerfile)
        await writeFile(join(folder, 'sources.list'), `deb [trusted=yes] ${aptUrl} ./\n`)
        await stamp(folder)
      },
      change: stamp,
    },
  ]
}
