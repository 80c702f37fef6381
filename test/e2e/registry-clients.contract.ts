import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { registryClient } from '#test/conformance/registry-client.ts'
import { type DockerPeer, startDocker } from '#test/support/docker-peer.ts'

const execute = promisify(execFile)
const project = join(import.meta.dirname, '../..')

/** Debian's own clients, as people have them, push to the registry and pull from it. */
export function describeRegistryClients(get: () => { url: string; token: string }): void {
  describe('clients of registries', () => {
    const folder = mkdtempSync(join(tmpdir(), 'slipway-clients-'))
    let docker: DockerPeer
    let host: string
    /** The credentials as `user:password`: the user is anything. */
    let login: string

    async function run(command: string, ...args: string[]): Promise<string> {
      const env = {
        ...process.env,
        DOCKER_CONFIG: join(folder, 'docker'),
        REGISTRY_AUTH_FILE: join(folder, 'auth.json'),
      }
      return (await execute(command, args, { env, timeout: 120_000, maxBuffer: 16 * 1024 * 1024 })).stdout
    }
    const skopeo = (...args: string[]) => run('skopeo', ...args)
    const own = (name: string) => [
      '--root',
      join(folder, name),
      '--runroot',
      join(folder, `${name}-run`),
      '--storage-driver=vfs',
    ]
    const podman = (...args: string[]) => run('podman', ...own('podman'), ...args)
    const buildah = (...args: string[]) => run('buildah', ...own('buildah'), ...args)
    const ctr = (...args: string[]) => run('ctr', '--address', docker.containerdSocket, ...args)
    const remote = (name: string) => `docker://${host}/${name}`
    const from = () => ['--src-tls-verify=false', '--src-creds', login]
    const to = () => ['--dest-tls-verify=false', '--dest-creds', login]
    const digestOf = async (name: string) =>
      (await skopeo('inspect', '--tls-verify=false', '--creds', login, '--format', '{{.Digest}}', remote(name))).trim()

    beforeAll(async () => {
      host = new URL(get().url).host
      login = `me:${get().token}`
      docker = await startDocker('none')
      const tar = join(folder, 'busybox.tar.gz')
      await execute('sh', [join(project, 'infra/local/busybox-base.sh'), tar])
      await docker.docker('import', '--change', 'CMD ["echo", "it runs"]', tar, `${host}/clients/docker:1`)
    })
    afterAll(async () => {
      await docker?.[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    })

    describe('docker', () => {
      test('login, push, pull, run', async () => {
        const config = ['--config', join(folder, 'docker')]
        await expect(docker.docker(...config, 'login', '-u', 'me', '-p', 'slw_wrong', host)).rejects.toThrow(
          /401|denied|unauthorized/i,
        )
        await docker.docker(...config, 'login', '-u', 'me', '-p', get().token, host)
        await docker.docker(...config, 'push', `${host}/clients/docker:1`)
        await docker.docker('rmi', `${host}/clients/docker:1`)
        await docker.docker(...config, 'pull', `${host}/clients/docker:1`)
        expect(await docker.docker('run', '--rm', '--network=none', `${host}/clients/docker:1`)).toBe('it runs\n')
      })

      test('what it has already it does not push again', async () => {
        await docker.docker('tag', `${host}/clients/docker:1`, `${host}/clients/mounted:1`)
        const said = await docker.docker('--config', join(folder, 'docker'), 'push', `${host}/clients/mounted:1`)
        expect(said).toMatch(/Mounted from clients\/docker|Layer already exists/)
      })
    })

    describe('skopeo', () => {
      test('copies out to a layout and to an archive, and back in, with the same digest', async () => {
        const digest = await digestOf('clients/docker:1')
        await skopeo('copy', ...from(), '--preserve-digests', remote('clients/docker:1'), `dir:${folder}/dir`)
        await skopeo('copy', ...to(), '--preserve-digests', `dir:${folder}/dir`, remote('clients/skopeo:dir'))
        expect(await digestOf('clients/skopeo:dir')).toBe(digest)
        await skopeo('copy', ...from(), remote('clients/docker:1'), `oci:${folder}/layout:one`)
        await skopeo('copy', ...to(), '--preserve-digests', `oci:${folder}/layout:one`, remote('clients/skopeo:oci'))
        await skopeo('copy', ...from(), remote('clients/skopeo:oci'), `docker-archive:${folder}/archive.tar:a/b:c`)
        await skopeo('copy', ...to(), `docker-archive:${folder}/archive.tar:a/b:c`, remote('clients/skopeo:archive'))
        const { Tags } = JSON.parse(
          await skopeo('list-tags', '--tls-verify=false', '--creds', login, remote('clients/skopeo')),
        ) as { Tags: string[] }
        expect(Tags).toEqual(['archive', 'dir', 'oci'])
      })

      test('deletes', async () => {
        await skopeo('delete', '--tls-verify=false', '--creds', login, remote('clients/skopeo:archive'))
        await expect(digestOf('clients/skopeo:archive')).rejects.toThrow(/manifest unknown|no manifest/i)
      })
    })

    describe.each([
      ['podman', podman],
      ['buildah', buildah],
    ])('%s', (name, client) => {
      test('login, pull, push', async () => {
        await client('login', '--tls-verify=false', '-u', 'me', '-p', get().token, host)
        await client('pull', '--tls-verify=false', `${host}/clients/docker:1`)
        await client('tag', `${host}/clients/docker:1`, `${host}/clients/${name}:1`)
        await client('push', '--tls-verify=false', `${host}/clients/${name}:1`)
        expect(await digestOf(`clients/${name}:1`)).toMatch(/^sha256:/)
      })
    })

    test('an index of two platforms, made by buildah, copied whole by skopeo', async () => {
      await buildah('manifest', 'create', 'both')
      await buildah('manifest', 'add', '--tls-verify=false', 'both', remote('clients/docker:1'))
      await buildah('manifest', 'add', '--tls-verify=false', '--arch', 'arm64', 'both', remote('clients/skopeo:oci'))
      await buildah('manifest', 'push', '--all', '--tls-verify=false', 'both', remote('clients/index:1'))
      await skopeo('copy', '--all', ...from(), ...to(), remote('clients/index:1'), remote('clients/index-copy:1'))
      const raw = await skopeo(
        'inspect',
        '--raw',
        '--tls-verify=false',
        '--creds',
        login,
        remote('clients/index-copy:1'),
      )
      const { manifests } = JSON.parse(raw) as { manifests: { platform: { architecture: string } }[] }
      expect(manifests.map(({ platform }) => platform.architecture).sort()).toEqual(['amd64', 'arm64'])
    })

    test('containerd pulls and pushes', async () => {
      const reference = `${host}/clients/docker:1`
      await ctr('images', 'pull', '--plain-http', '--user', login, reference)
      await ctr('images', 'tag', reference, `${host}/clients/ctr:1`)
      await ctr('images', 'push', '--plain-http', '--user', login, `${host}/clients/ctr:1`)
      expect(await digestOf('clients/ctr:1')).toBe(await digestOf('clients/docker:1'))
    })

    test('a pull scope is enough to pull and not to push', async () => {
      const answer = await registryClient(get().url, get().token).send('POST', '/v1/tokens', {
        body: JSON.stringify({ name: 'puller', scopes: ['repository:clients/*:pull'] }),
        headers: { 'content-type': 'application/json' },
      })
      const { token } = (await answer.json()) as { token: string }
      await skopeo(
        'copy',
        '--src-tls-verify=false',
        '--src-creds',
        `x:${token}`,
        remote('clients/docker:1'),
        `dir:${folder}/p`,
      )
      const push = [
        'copy',
        '--dest-tls-verify=false',
        '--dest-creds',
        `x:${token}`,
        `dir:${folder}/p`,
        remote('clients/no:1'),
      ]
      await expect(skopeo(...push)).rejects.toThrow(/denied|may not push/i)
    })
  })
}
