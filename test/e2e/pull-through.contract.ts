import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { buildContext } from '#infra/local/builds.ts'
import type { BoxUpstream } from '#test/support/box-upstream.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { startDocker } from '#test/support/docker-peer.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

const execute = promisify(execFile)

/** A whole Slipway that has `bootBoxUpstream` for the upstream of this name. The upstream is down at the end. */
export interface PulledThrough {
  slipway: TestSlipway
  upstream: BoxUpstream
}

/** An image that only an upstream has: built upon, run, and pulled by Debian's own clients, also once that one is down. */
export function describePullThrough(registry: string, get: () => PulledThrough): void {
  describe('pull-through', () => {
    const folder = mkdtempSync(join(tmpdir(), 'slipway-pull-'))
    const image = `${registry}/library/box:1`
    const hostOf = () => `127.0.0.1:${get().slipway.layout.apiPort}`
    const loginOf = () => `me:${get().slipway.operatorToken}`
    afterAll(() => rmSync(folder, { recursive: true, force: true }))

    test('a Dockerfile builds on it', async () => {
      const { slipway } = get()
      const context = await uploadFiles(slipway.api, { Dockerfile: `FROM ${image}\nRUN echo made > /made\n` })
      let log = ''
      await buildContext(slipway.api, { context, tags: ['on-box:1'] }, text => (log += text))
      expect(log).toContain(`pulling ${image}`)
    })

    test('a build may not take a name of the upstream', async () => {
      const { slipway } = get()
      const context = await uploadFiles(slipway.api, { Dockerfile: `FROM ${image}\n` })
      const built = buildContext(slipway.api, { context, tags: [`${registry}/library/mine:1`] }, () => {})
      await expect(built).rejects.toThrow(/upstream\.read-only/)
    })

    test('a container runs it', async () => {
      const wanted = { image, name: 'boxed', command: ['sleep', '300'] }
      const { api } = get().slipway
      const made = await api.call<{ state: string }>('POST', '/v1/containers?wait=running', wanted)
      expect(made.state).toBe('running')
      await api.call('DELETE', '/v1/containers/boxed?force=true&wait=removed')
      // The host, which has it, says how large it is unpacked; a build says so of its own layers too.
      for (const reference of [image, 'on-box:1']) {
        const path = `/v1/images/${encodeURIComponent(reference)}`
        const sizes = () => api.call<{ size: number; unpackedSize: number | null }>('GET', path)
        await expect.poll(async () => (await sizes()).unpackedSize, { timeout: 20_000 }).toBeGreaterThan(1_000_000)
      }
    })

    test('skopeo, podman and containerd pull it, the upstream being down', async () => {
      const { proxy } = get().upstream
      await proxy.stop()
      const asked = proxy.seen.length
      const from = ['--src-tls-verify=false', '--src-creds', loginOf()]
      await execute('skopeo', ['copy', ...from, `docker://${hostOf()}/${image}`, `dir:${folder}/box`])
      await pullByPodman()
      await pullByContainerd()
      expect(proxy.seen).toHaveLength(asked)
    })

    /** By the registry's own name, from the mirror that its configuration names. */
    async function pullByPodman(): Promise<void> {
      const mirror = `[[registry.mirror]]\nlocation = "${hostOf()}/${registry}"\ninsecure = true\n`
      writeFileSync(join(folder, 'registries.conf'), `[[registry]]\nlocation = "${registry}"\n${mirror}`)
      const auth = Buffer.from(loginOf()).toString('base64')
      writeFileSync(join(folder, 'auth.json'), JSON.stringify({ auths: { [hostOf()]: { auth } } }))
      const env = {
        ...process.env,
        CONTAINERS_REGISTRIES_CONF: join(folder, 'registries.conf'),
        REGISTRY_AUTH_FILE: join(folder, 'auth.json'),
      }
      const store = ['--root', join(folder, 'podman'), '--runroot', join(folder, 'podman-run'), '--storage-driver=vfs']
      await execute('podman', [...store, 'pull', image], { env, timeout: 60_000 })
    }

    /** By `ns`, as containerd asks a mirror. */
    async function pullByContainerd(): Promise<void> {
      await using docker = await startDocker('none')
      mkdirSync(join(folder, `hosts/${registry}`), { recursive: true })
      const hosts = `server = "http://127.0.0.1:1"\n[host."http://${hostOf()}"]\n  capabilities = ["pull", "resolve"]\n`
      writeFileSync(join(folder, `hosts/${registry}/hosts.toml`), hosts)
      const args = ['images', 'pull', '--hosts-dir', join(folder, 'hosts'), '--user', loginOf(), image]
      await execute('ctr', ['--address', docker.containerdSocket, ...args], { timeout: 60_000 })
    }
  })
}
