import { expect, test } from 'vitest'
import { apiClient } from '#infra/local/api-client.ts'
import type { ClaimedBuild } from '#shared/protocol/agent.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import { codeOf } from '#test/support/api.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

const HOSTS = ['queue-a', 'queue-b', 'queue-c']
const FACTS = {
  ...{ hostname: 'queue', architecture: 'amd64', os: 'linux', kernel: '6', cpus: 1, memoryBytes: 1e9 },
  ...{ diskBytes: 1e12, diskFreeBytes: 9e11, agentVersion: '0', snapshotter: 'erofs', runtime: 'crun', cgroup: 'v2' },
}

/** Who gets a build, in the database that the control plane has. Hosts without an agent ask, each with its own token. */
export function describeBuildQueue(get: () => TestSlipway): void {
  test('of hosts that claim a build at the same moment exactly one gets it, and the others may do nothing with it', async () => {
    const { api } = get()
    const made = HOSTS.map(name => api.call<{ token: string }>('POST', '/v1/hosts', { name }))
    const agents = (await Promise.all(made)).map(({ token }) => apiClient(api.url, token))
    const report = (agent: (typeof agents)[number], builds: object[] = []) =>
      agent.call('POST', '/v1/agent/report', {
        ...{ generation: 0, facts: { ...FACTS, labels: { only: 'queue' } }, containers: [], builds },
      })
    for (const agent of agents) await report(agent)
    const context = await uploadFiles(api, { Dockerfile: 'FROM scratch\n' })
    const body = { context, tags: ['claimed:1'], constraints: { only: 'queue' }, secrets: { s: 'hidden' } }
    const { id } = await api.call<BuildView>('POST', '/v1/builds', body)
    const claims = [...agents, ...agents].map(agent =>
      agent.call<ClaimedBuild | undefined>('POST', '/v1/agent/builds/claims', {}),
    )
    const won = (await Promise.all(claims)).flatMap((claimed, at) =>
      claimed ? [{ claimed, at: at % HOSTS.length }] : [],
    )
    expect(won.map(({ claimed }) => claimed.build.id)).toEqual([id])
    const winner = won[0]?.at ?? 0
    expect(await api.call('GET', `/v1/builds/${id}`)).toMatchObject({ host: { name: HOSTS[winner] }, attempts: 1 })
    const secrets = agents.map(agent => agent.call('GET', `/v1/agent/builds/${id}/secrets`))
    const answers = await Promise.all(
      secrets.map(asked =>
        asked.then(
          () => 'told',
          () => 'refused',
        ),
      ),
    )
    expect(answers).toEqual(HOSTS.map((_, at) => (at === winner ? 'told' : 'refused')))
    for (const [at, agent] of agents.entries()) {
      if (at === winner) continue
      expect(await codeOf(agent.call('POST', '/v1/agent/builds/claims', { build: id }))).toBe('build.taken')
      await report(agent, [{ id, observed: { state: 'canceled', startedAt: 1, finishedAt: 2 } }])
    }
    expect(await api.call('GET', `/v1/builds/${id}`)).toMatchObject({ state: 'queued' })
    const owner = agents[winner]
    if (owner) await report(owner, [{ id, observed: { state: 'canceled', startedAt: 1, finishedAt: 2 } }])
    expect(await api.call('GET', `/v1/builds/${id}`)).toMatchObject({ state: 'canceled' })
    for (const name of HOSTS) await api.call('DELETE', `/v1/hosts/${name}`)
  })
}
