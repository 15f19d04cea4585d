#include "bind.hpp"

#include "base/error.hpp"
#include "grpc/call_failed.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

// Raises persia.errors.<name>(*arguments). Looked up at the time of the error, so that persia.errors need not be loaded first.
template <class... Arguments>
void raise(const char* name, Arguments&&... arguments) {
    nb::object type = nb::module_::import_("persia.errors").attr(name);
    nb::object error = type(std::forward<Arguments>(arguments)...);
    PyErr_SetObject(type.ptr(), error.ptr());
}

nb::str text(const std::string& value) {
    return nb::steal<nb::str>(PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "replace"));
}

// The class that stands for a status, as persia/errors.py has it.
const char* class_of(const grpc::CallFailed& error) {
    switch (error.status.code) {
        case grpc::Code::invalid_argument:
            return "InvalidInput";
        case grpc::Code::not_found:
            return "NotFound";
        case grpc::Code::permission_denied:
            return "AccessDenied";
        case grpc::Code::unauthenticated:
            return "Unauthenticated";
        case grpc::Code::resource_exhausted:
            return error.pushback ? "Overloaded" : "TooLarge";
        case grpc::Code::unavailable:
            return "Unavailable";
        case grpc::Code::deadline_exceeded:
            return "DeadlineExceeded";
        case grpc::Code::unimplemented:
            return "NotFound";
        default:
            return "PersiaError";
    }
}

void translate(const std::exception_ptr& pending, void*) {
    try {
        std::rethrow_exception(pending);
    } catch (const grpc::CallFailed& error) {
        raise(class_of(error), text(error.status.message));
    } catch (const CorruptFile& error) {
        raise("CorruptFile", file_name(error.path), text(error.expected), text(error.got), error.byte);
    } catch (const DecodeError& error) {
        raise("DecodeError", text(error.expected), text(error.got), error.byte);
    } catch (const TooLarge& error) {
        raise("TooLarge", text(error.what()));
    } catch (const IoError& error) {
        PyErr_SetObject(PyExc_OSError, nb::make_tuple(error.code, text(error.what()), file_name(error.path)).ptr());
    } catch (const FeatureError& error) {
        raise("FeatureError", text(error.feature), text(error.problem));
    } catch (const InvalidInput& error) {
        raise("InvalidInput", text(error.what()));
    }
}

}  // namespace

void errors(nb::module_&) { nb::register_exception_translator(translate); }

}  // namespace persia::bind
