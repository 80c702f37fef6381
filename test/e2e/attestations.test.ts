import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildDebian } from '#infra/local/base-images.ts'
import { uploadFolder } from '#infra/local/contexts.ts'
import { digestOf } from '#shared/digest.ts'
import { PREDICATES } from '#shared/domain/attestation.ts'
import { readImage } from '#test/conformance/image-files.ts'
import { type FetchSources, openFetchSources } from '#test/support/fetch-sources.ts'
import { bootWithBusybox, type TestSlipway } from '#test/support/slipway.ts'

/** What is published beside an image, and layers in zstd, as real clients see them. */

const execute = promisify(execFile)
const project = join(import.meta.dirname, '../..')
let slipway: TestSlipway
let sources: FetchSources
let folder: string
let count = 0

beforeAll(async () => {
  slipway = await bootWithBusybox('e2eatt')
  folder = mkdtempSync('/var/tmp/slipway-attest-')
  sources = await openFetchSources(join(folder, 'sources'))
})
afterAll(async () => {
  await sources?.[Symbol.asyncDispose]()
  if (folder) rmSync(folder, { recursive: true, force: true })
  expect(await slipway?.remove()).toEqual([])
})

interface Build {
  id: string
  state: string
  imageDigest: string
  attestations?: { predicateType: string; digest: string }[]
  error?: unknown
}

async function built(dockerfile: string, tag: string, request: object): Promise<Build> {
  const context = join(folder, `context-${++count}`)
  mkdirSync(context)
  writeFileSync(join(context, 'Dockerfile'), dockerfile)
  const body = { context: await uploadFolder(slipway.api, context), tags: [tag], ...request }
  const { id } = await slipway.api.call<Build>('POST', '/v1/builds?wait=finished', body)
  const build = await slipway.api.call<Build>('GET', `/v1/builds/${id}`)
  expect(build.state, JSON.stringify(build.error)).toBe('succeeded')
  return build
}

async function get(path: string): Promise<Response> {
  const headers = { authorization: `Bearer ${slipway.operatorToken}`, accept: '*/*' }
  const answer = await fetch(new URL(path, slipway.api.url), { headers })
  expect(answer.status, path).toBe(200)
  return answer
}

interface Statement {
  _type: string
  subject: { name: string; digest: { sha256: string } }[]
  predicateType: string
  predicate: Record<string, never>
}

/** As a client finds it: the referrers of the image, the manifest of one, its one layer. */
async function statementOf(repository: string, build: Build, predicateType: string): Promise<Statement> {
  const { manifests } = (await (await get(`/v2/${repository}/referrers/${build.imageDigest}`)).json()) as {
    manifests: { digest: string; artifactType: string; annotations: Record<string, string> }[]
  }
  const told = build.attestations?.find(one => one.predicateType === predicateType)
  const found = manifests.find(({ digest }) => digest === told?.digest)
  expect(found).toMatchObject({
    artifactType: 'application/vnd.in-toto+json',
    annotations: { 'in-toto.io/predicate-type': predicateType },
  })
  const manifest = (await (await get(`/v2/${repository}/manifests/${found?.digest}`)).json()) as {
    subject: { digest: string }
    layers: { digest: string; size: number }[]
  }
  expect(manifest.subject.digest).toBe(build.imageDigest)
  const text = await (await get(`/v2/${repository}/blobs/${manifest.layers[0]?.digest}`)).text()
  expect(await digestOf(text)).toBe(manifest.layers[0]?.digest)
  const statement = JSON.parse(text) as Statement
  expect(statement).toMatchObject({ _type: 'https://in-toto.io/Statement/v1', predicateType })
  expect(statement.subject.map(({ digest }) => `sha256:${digest.sha256}`)).toEqual([build.imageDigest])
  return statement
}

const referrersOf = async (repository: string, { imageDigest }: Build) =>
  ((await (await get(`/v2/${repository}/referrers/${imageDigest}`)).json()) as { manifests: unknown[] }).manifests

describe('provenance', () => {
  test('a build that asks for nothing has nothing beside its image', async () => {
    const build = await built('FROM busybox\nLABEL a=plain\n', 'att/plain:1', {})
    expect(build.attestations ?? []).toEqual([])
    expect(await referrersOf('att/plain', build)).toEqual([])
  })

  test('min: source, Dockerfile, base image and what ADD fetched, by their digests; no values', async () => {
    const dockerfile = `FROM busybox\nARG NAME\nADD ${sources.url}/dir/hello.txt /f\nLABEL a=$NAME\n`
    const args = { NAME: 'ein-wert' }
    const build = await built(dockerfile, 'att/min:1', { provenance: true, args })
    const statement = await statementOf('att/min', build, PREDICATES.provenance)
    const { buildDefinition, runDetails } = statement.predicate as Record<string, Record<string, never>>
    const base = await slipway.api.call<{ digest: string }>('GET', '/v1/images/busybox:latest')
    expect(buildDefinition).toMatchObject({
      externalParameters: { configSource: { path: 'Dockerfile' }, request: { frontend: 'dockerfile.v0' } },
      internalParameters: { builderPlatform: 'linux/amd64' },
      resolvedDependencies: expect.arrayContaining([
        { name: 'Dockerfile', digest: { sha256: (await digestOf(dockerfile)).slice(7) } },
        { name: 'context', digest: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) } },
        { uri: 'pkg:docker/busybox@latest?platform=linux%2Famd64', digest: { sha256: base.digest.slice(7) } },
        { uri: `${sources.url}/dir/hello.txt`, digest: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) } },
      ]),
    })
    expect(runDetails).toMatchObject({
      builder: { id: slipway.api.url.replace(/\/$/, ''), version: { slipway: expect.any(String) } },
      metadata: { invocationId: build.id, buildkit_hermetic: true, buildkit_reproducible: false },
    })
    expect(JSON.stringify(statement)).not.toContain('ein-wert')
  })

  test('max: the Dockerfile and values of ARGs; secrets by their ids alone', async () => {
    const dockerfile = 'FROM busybox\nARG GREETING API_TOKEN\nRUN --mount=type=secret,id=s cat /run/secrets/s\n'
    const args = { GREETING: 'hallo', API_TOKEN: 'sehr-geheim', HTTP_PROXY: 'http://me:kennwort@proxy.example' }
    const request = { provenance: 'max', args, secrets: { s: 'das-geheimnis' } }
    const build = await built(dockerfile, 'att/max:1', request)
    const statement = await statementOf('att/max', build, PREDICATES.provenance)
    const text = JSON.stringify(statement)
    for (const secret of ['sehr-geheim', 'kennwort', 'das-geheimnis']) expect(text).not.toContain(secret)
    expect(statement.predicate).toMatchObject({
      buildDefinition: {
        externalParameters: {
          request: {
            args: { 'build-arg:GREETING': 'hallo', 'build-arg:API_TOKEN': '***' },
            secrets: [{ id: 's' }],
          },
        },
      },
      runDetails: {
        metadata: {
          buildkit_hermetic: false,
          buildkit_metadata: { source: { infos: [{ data: Buffer.from(dockerfile).toString('base64') }] } },
        },
      },
    })
  })

  test('a repository by its commit', async () => {
    const make =
      'git checkout -qb docker; printf "FROM busybox\\nCOPY top.txt /\\n" > Dockerfile; git add .; git commit -qm three; git push -q ../files/r.git docker; git rev-parse HEAD'
    const commit = execFileSync('bash', ['-ec', make], { cwd: join(folder, 'sources/work') })
      .toString()
      .trim()
    const git = { url: sources.gitUrl, ref: 'docker' }
    const build = await built('', 'att/git:1', { context: undefined, git, provenance: 'min' })
    const { predicate } = await statementOf('att/git', build, PREDICATES.provenance)
    expect(predicate).toMatchObject({
      buildDefinition: {
        externalParameters: {
          configSource: { uri: `${sources.gitUrl}#docker`, digest: { sha1: commit }, path: 'Dockerfile' },
        },
      },
    })
  })
})

describe('SBOM', () => {
  test('the packages of a real Debian, as dpkg lists them, the same document each time', async () => {
    await buildDebian(slipway.api, join(project, '.tools/cache/debian-12.tar.gz'), () => {})
    const dockerfile = "FROM debian:12\nRUN dpkg-query -W -f '${Package} ${Version} ${Architecture}\\n' > /list\n"
    const build = await built(dockerfile, 'att/debian:1', { sbom: true })
    const { predicate } = await statementOf('att/debian', build, PREDICATES.sbom)
    const { packages } = predicate as unknown as {
      packages: { name: string; versionInfo: string; externalRefs: { referenceLocator: string }[] }[]
    }
    const { files } = await readImage(slipway.api.url, slipway.operatorToken, 'att/debian', '1')
    const listed = await slipway.api
      .call<{ id: string }>('POST', '/v1/containers?wait=exited', {
        image: 'att/debian:1',
        command: ['wc', '-l', '/list'],
      })
      .then(({ id }) => logOf(id))
    expect(files.has('list')).toBe(true)
    expect(packages.length - 1).toBe(Number.parseInt(listed, 10))
    const dpkg = packages.find(({ name }) => name === 'dpkg')
    expect(dpkg?.externalRefs[0]?.referenceLocator).toBe(
      `pkg:deb/debian/dpkg@${dpkg?.versionInfo}?arch=amd64&distro=debian-12`,
    )
    expect(await referrersOf('att/debian', build)).toHaveLength(1)
    const again = await built(dockerfile, 'att/debian:1', { sbom: true })
    expect(again.attestations).toEqual(build.attestations)
    expect(await referrersOf('att/debian', again)).toHaveLength(1)
  }, 600_000)

  test('an image of nothing has an empty list', async () => {
    const build = await built('FROM scratch\nLABEL a=b\n', 'att/nothing:1', { sbom: true, provenance: 'max' })
    const { predicate } = await statementOf('att/nothing', build, PREDICATES.sbom)
    expect((predicate as unknown as { packages: unknown[] }).packages).toHaveLength(1)
    expect(await referrersOf('att/nothing', build)).toHaveLength(2)
  })
})

async function logOf(container: string): Promise<string> {
  let text = ''
  for await (const piece of slipway.api.text(`/v1/containers/${container}/logs`)) text += piece
  return text
}

describe('zstd', () => {
  test('skopeo and podman read its layers, and a commit and an import make some', async () => {
    await built('FROM busybox\nRUN seq 100000 > /numbers\n', 'att/zstd:1', { compression: 'zstd' })
    const host = new URL(slipway.api.url).host
    const login = `me:${slipway.operatorToken}`
    const source = `docker://${host}/att/zstd:1`
    await execute('skopeo', ['copy', '--src-tls-verify=false', '--src-creds', login, source, `dir:${folder}/dir`])
    const own = ['--root', join(folder, 'podman'), '--runroot', join(folder, 'podman-run'), '--storage-driver=vfs']
    await execute('podman', [...own, 'pull', '-q', '--tls-verify=false', '--creds', login, `${host}/att/zstd:1`])
    const { stdout } = await execute('podman', [...own, 'image', 'mount', `${host}/att/zstd:1`])
    expect(execFileSync('tail', ['-n1', join(stdout.trim(), 'numbers')]).toString()).toBe('100000\n')
    await execute('podman', [...own, 'image', 'umount', '--all'])
    await execute('podman', [...own, 'rmi', '--all', '--force'])
  })

  test('a commit and an import make some, and they run here', async () => {
    const { id } = await slipway.api.call<{ id: string }>('POST', '/v1/containers?wait=exited', {
      ...{ image: 'busybox', command: ['sh', '-c', 'echo changed > /new'] },
    })
    const body = { tags: ['att/commit:1'], compression: 'zstd' }
    await slipway.api.call('POST', `/v1/containers/${id}/commit?wait=finished`, body)
    const image = await readImage(slipway.api.url, slipway.operatorToken, 'att/commit', '1')
    expect(image.manifest.layers.at(-1)?.mediaType).toBe('application/vnd.oci.image.layer.v1.tar+zstd')
    expect(image.files.get('new')).toContain('changed')
    const run = { image: 'att/commit:1', command: ['cat', '/new'] }
    const again = await slipway.api.call<{ id: string }>('POST', '/v1/containers?wait=exited', run)
    expect(await logOf(again.id)).toContain('changed')
    for (const container of [id, again.id]) await slipway.api.call('DELETE', `/v1/containers/${container}`)
  })

  test('a level that gzip has not is refused', async () => {
    const request = { context: 'x', tags: ['a:1'], compressionLevel: 15 }
    await expect(slipway.api.call('POST', '/v1/builds', request)).rejects.toThrow(/gzip has 0 to 9/)
  })
})
