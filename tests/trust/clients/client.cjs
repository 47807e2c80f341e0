// What a service on Node does with the daemon, through @grpc/grpc-js and the protos as
// they are, read by @grpc/proto-loader. Prints what it got as one JSON object; the test
// judges.
//
// Usage: client.cjs TARGET USER PROTOS, with the key in ROSTER_KEY and the packages where
// NODE_PATH says. TARGET is HOST:PORT or unix:PATH; USER is somebody for it to add to the
// team; PROTOS is the folder of the protos.

const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const ORGANIZATION = "hypervisor-io-example";
const [target, user, protos] = process.argv.slice(2);
const definition = loader.loadSync(
  ["roster/v1/authorization.proto", "roster/v1/member.proto"],
  { includeDirs: [protos], keepCase: true, enums: String, longs: String, defaults: true },
);
const { v1 } = grpc.loadPackageDefinition(definition).roster;
const insecure = grpc.credentials.createInsecure();

function metadata(key) {
  const all = new grpc.Metadata();
  if (key) all.set("authorization", `Bearer ${key}`);
  return all;
}
const key = metadata(process.env.ROSTER_KEY);

function within(milliseconds) {
  return { deadline: new Date(Date.now() + milliseconds) };
}

function question(who, action, project, more = {}) {
  return {
    organization: ORGANIZATION,
    principal: { type: "User", id: who },
    action,
    resource: { type: "Instance", id: "vm-1", project },
    ...more,
  };
}

function call(client, method, request, headers = key, options = within(60_000)) {
  return new Promise((resolve, reject) => {
    client[method](request, headers, options, (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

// The code that a call fails with.
function refused(promise) {
  return promise.then(() => "OK", (error) => grpc.status[error.code]);
}

function streamed(client, requests) {
  return new Promise((resolve, reject) => {
    const answers = [];
    const stream = client.StreamIsAuthorized(key, within(60_000));
    stream.on("data", (answer) => answers.push([answer.correlation_id, answer.decision]));
    stream.on("error", reject);
    stream.on("end", () => resolve(answers));
    for (const request of requests) stream.write(request);
    stream.end();
  });
}

async function main() {
  const authorization = new v1.AuthorizationService(target, insecure);
  const members = new v1.MemberService(target, insecure);
  const ask = (...request) => call(authorization, "IsAuthorized", question(...request));
  const allowed = await ask("dev", "InstancesManage", "development");
  const denied = await ask("dev", "InstancesManage", "production", { include_reasons: true });
  const added = await call(members, "AddMember", {
    organization: ORGANIZATION,
    user,
    roles: ["viewer"],
  });
  const managed = await ask(user, "InstancesView", "production", { at_least: added.revision });
  const again = question("dev", "InstancesManage", "development");
  const later = { ...again, at_least: "0.ffffffff" };
  const found = {
    allowed: allowed.decision,
    denied: denied.decision,
    reason: denied.reasons[0].code,
    managed: managed.decision,
    stream: await streamed(
      authorization,
      ["development", "production", "development"].map((project) =>
        question("dev", "InstancesManage", project, { correlation_id: project }),
      ),
    ),
    wrong_key: await refused(
      call(authorization, "IsAuthorized", again, metadata("roster_operator_wrong")),
    ),
    no_key: await refused(call(authorization, "IsAuthorized", again, metadata())),
    // A revision that does not come while anybody waits for it.
    deadline: await refused(call(authorization, "IsAuthorized", later, key, within(500))),
  };
  console.log(JSON.stringify(found));
  authorization.close();
  members.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
